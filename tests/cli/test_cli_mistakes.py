"""Twelve mistakes that newcomers make: each is answered in a line or two that help."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from noa_async.emulator import make_product

from .conftest import Open

ALL = ("search", "--everything")
EXPLAIN = "Run noa-async explain with the same query to see which condition excludes all products."
NOWHERE = {"NOA_CATALOGUE_URL": "http://127.0.0.1:{port}/Products", "NOA_RETRIES": "0",
           "NOA_TOKEN_URL": "http://127.0.0.1:{port}/token"}  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """What somebody types, and every line of the answer on standard error."""

    name: str
    arguments: tuple[str, ...]
    code: int
    lines: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    """An empty value takes the variable away."""


MISTAKES = [
    Mistake(
        "wrong password",
        ALL,
        3,
        (
            (
                "noa-async: The service rejects the credentials of 'demo' (from NOA_USERNAME and "
                "NOA_PASSWORD): Invalid user credentials."
            ),
            "Check them on the service's web page; they are not sent again until they change.",
        ),
        {"NOA_PASSWORD": "guess"},
    ),
    Mistake(
        "no credentials",
        ALL,
        3,
        (
            "noa-async: No user name and password were found.",
            (
                "Set NOA_USERNAME and NOA_PASSWORD, or enter them once with noa-async login --keep "
                "netrc. To try the program without an account, run noa-async demo."
            ),
        ),
        {"NOA_USERNAME": "", "NOA_PASSWORD": ""},
    ),
    Mistake(
        "latitude and longitude swapped, which is certain",
        ("search", "--roi", "POLYGON((38 122, 39 122, 39 123, 38 122))"),
        2,
        (
            (
                "noa-async: Point 1 (38 122) has a latitude of 122, beyond 90 degrees: latitude "
                "and longitude may be swapped."
            ),
            "Write longitude first, then latitude.",
        ),
    ),
    Mistake(
        "latitude and longitude swapped, which is likely",
        ("search", "--roi", "38,22,39,23"),
        0,
        (
            (
                "No product matches. The area may have latitude and longitude swapped: 1 product "
                "matches in the area from 22 to 23 east, 38 to 39 north."
            ),
            EXPLAIN,
        ),
    ),
    Mistake(
        "unclosed ring",
        ("count", "--roi", "POLYGON((22 38, 23 38, 23 39, 22 39))"),
        2,
        (
            (
                "noa-async: The ring is not closed: its last point, 4 (22 39), is not its first, "
                "(22 38)."
            ),
            "Add 22 38 at its end.",
        ),
    ),
    Mistake(
        "typo in a rule key",
        ("search", "--rule", "platfrom=SENTINEL-2"),
        2,
        ("noa-async: There is no rule key platfrom.", "Did you mean platform?"),
    ),
    Mistake(
        "a product type that is none",
        ("download", "--rule", "platform=SENTINEL-2,product_type=S2MSI2B"),
        0,
        (
            (
                "No product matches. SENTINEL-2 is not known to have the product type S2MSI2B; did "
                "you mean S2MSI2A?"
            ),
            EXPLAIN,
        ),
    ),
    Mistake(
        "dates reversed",
        ("search", "--content-start", "2026-02-01", "--content-end", "2026-01-01"),
        2,
        (
            (
                "noa-async: content starts at 2026-02-01T00:00:00.000Z, after its end "
                "2026-01-01T23:59:59.999Z: nothing can match."
            ),
            "Swap the two.",
        ),
    ),
    Mistake(
        "no network",
        ALL,
        4,
        (
            "noa-async: No answer from 127.0.0.1:PORT: Connection refused.",
            "The service may be away, or a firewall or proxy is between.",
        ),
        NOWHERE,
    ),
    Mistake(
        "an empty result",
        ("count", "--pub-start", "2031-01-01"),
        0,
        (
            (
                "No product matches. Widen the dates or the area, or drop a rule; recently "
                "sensed products may not be in the mirror yet."
            ),
            EXPLAIN,
        ),
    ),
    Mistake(
        "a file as output folder",
        ("download", "--everything", "--output", "notes.txt"),
        5,
        (
            "noa-async: notes.txt cannot be a folder: a file is in the way.",
            "Name another folder.",
        ),
    ),
]


def neutral(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text).splitlines()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
async def test_a_mistake_is_answered(
    open_mirror: Open, unused_tcp_port: int, mistake: Mistake
) -> None:
    mirror, noa = await open_mirror(make_product())
    (noa.folder / "notes.txt").write_text("mine\n")
    for name, value in mistake.environ.items():
        noa.environ[name] = value.format(port=unused_tcp_port)
    ended = await noa(*mistake.arguments)
    assert (ended.code, neutral(ended.err)) == (mistake.code, list(mistake.lines))
    assert mirror.stats.downloads == {}
    assert mirror.stats.wrong_passwords == (mistake.name == "wrong password")
    if mistake.code == 2:
        assert mirror.stats.requests == 0  # nothing is sent before it makes sense
    assert (noa.folder / "notes.txt").read_text() == "mine\n"


async def test_an_expired_certificate(serve, open_mirror: Open, tmp_path: Path) -> None:
    async def never(_: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("it was asked")

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    url = await serve(never, context)
    _, noa = await open_mirror()
    noa.environ |= {
        "NOA_CATALOGUE_URL": f"{url}/Products",
        "NOA_TOKEN_URL": f"{url}/token",
        "NOA_CA_FILE": str(tmp_path / "ca.pem"),
    }
    ended = await noa(*ALL)
    what, hint = neutral(ended.err)
    assert ended.code == 4
    assert what == (
        "noa-async: The certificate of 127.0.0.1:PORT is not trusted: certificate has expired."
    )
    assert hint == (
        "Check the clock and the address; for a private authority name its file in NOA_CA_FILE."
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, check=False).returncode:
        if os.environ.get("NOA_REQUIRE_PARTS"):
            raise RuntimeError("mount is not allowed here (root is needed for a small disk)")
        pytest.skip("mount is not allowed here (root is needed for a small disk)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_no_room(open_mirror: Open, small_disk: Path) -> None:
    mirror, noa = await open_mirror(make_product(size=3_000_000))
    ended = await noa("download", "--everything", "--output", small_disk, "--no-progress")
    assert ended.code == 1
    assert mirror.stats.downloads == {}
    assert re.search(
        rf"failed  \S+: No room in {small_disk} for \S+: it needs 3\.00 MB more, \d+ kB are free, "
        r"of which 16\.8 MB stay free \(--min-free\)\. Make room, or lower --min-free; "
        r"the next run tries again\.",
        ended.err,
    )
