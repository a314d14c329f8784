"""Others on the machine, and services that mean harm: section 9."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from noa_async import NoaClient, Query, Service, Settings
from noa_async.answers import Sender, classify, is_html
from noa_async.auth.credentials import find_credentials
from noa_async.catalogue.footprint import read_footprint
from noa_async.decoding import Decoder, Malformed, UnknownCoding, codings
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.errors import ServiceAway, ServiceFault, SettingsError
from noa_async.origins import is_loopback
from noa_async.tls import check_encrypted
from noa_async.transport import Transport

from ..cli.conftest import PASSWORD, Program
from ..integration.conftest import WHO, settings_for

K = FaultKind
ALL = Query(everything=True)


@pytest.fixture
async def mirror_and_program(tmp_path: Path) -> AsyncIterator[tuple[Emulator, Program]]:
    async with AsyncExitStack() as stack:
        made = EmulatorSettings(products=4, mean_bytes=20_000, password=PASSWORD)
        mirror = await stack.enter_async_context(Emulator(made))
        yield mirror, Program(tmp_path, mirror)


# Plain http.


@pytest.mark.parametrize("named", ["token_url", "catalogue_url"])
async def test_plain_http(mirror_and_program: tuple[Emulator, Program], named: str) -> None:
    """Neither password nor token goes in the clear to another machine, unless that is asked for."""
    _, noa = mirror_and_program
    noa.environ |= {
        "NOA_TOKEN_URL": "https://mirror.invalid/token",
        "NOA_CATALOGUE_URL": "https://mirror.invalid/odata/v1/Products",
        f"NOA_{named.upper()}": "http://mirror.invalid/odata/v1/Products",
    }
    for verb in (("login",), ("search", "--everything"), ("download", "--everything")):
        ended = await noa(*verb)
        assert ended.code == 2
        what = "password" if named == "token_url" else "token"
        assert f"The {what} would be sent to mirror.invalid over plain http" in ended.err
        assert "--insecure-http" in ended.err
    assert (await noa("login", "--insecure-http")).code == 4  # the name is not known
    noa.environ["NOA_INSECURE_HTTP"] = "1"
    assert (await noa("login")).code == 4
    noa.environ["NOA_INSECURE_HTTP"] = "maybe"
    assert (await noa("login")).code == 2


async def test_plain_http_sends_nothing() -> None:
    """0.0.0.0 leads to this machine, but its name does not say so."""
    async with Emulator(EmulatorSettings(host="0.0.0.0", products=1)) as mirror:
        assert mirror.environ["NOA_INSECURE_HTTP"] == "1"
        settings = Settings.from_env({**mirror.environ, "NOA_INSECURE_HTTP": ""})
        with pytest.raises(SettingsError, match="over plain http"):
            async with NoaClient(settings, WHO):
                pass
        assert mirror.stats.requests == 0
        async with NoaClient(Settings.from_env(mirror.environ), WHO) as noa:
            assert await noa.count(ALL) == 1


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80/x", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:8080/x", True),
        ("http://[::ffff:127.0.0.1]/x", True),
        ("http://localhost/x", True),
        ("http://LOCALHOST.:1/x", True),
        ("http://a.localhost/x", True),
        ("http://localhost.evil.example/x", False),
        ("http://127.0.0.1.evil.example/x", False),
        ("http://127.0.0.1@evil.example/x", False),
        ("http://evil.example/127.0.0.1", False),
        ("http://10.0.0.1/x", False),
        ("http://0.0.0.0/x", False),
        ("http://[::]/x", False),
        ("http://[fe80::1]/x", False),
        ("http://169.254.1.1/x", False),
    ],
)
def test_what_is_on_this_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
    service = Service(token_url=url, catalogue_url="https://mirror.example/Products")
    check_encrypted(Settings(service=service, insecure_http=True))
    if loopback:
        check_encrypted(Settings(service=service))
    else:
        with pytest.raises(SettingsError):
            check_encrypted(Settings(service=service))


# A netrc file.


@pytest.mark.parametrize("home", [True, False])
def test_netrc_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: bool) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".netrc"
    path.write_text("machine mirror.example login ada password hunter2\n")
    path.chmod(0o644)
    environ = {} if home else {"NETRC": str(path)}
    with pytest.raises(SettingsError, match="every user of this machine can read") as caught:
        find_credentials("https://mirror.example/token", environ, keyring=False)
    assert f"chmod 600 {path}" in caught.value.hint
    assert "hunter2" not in str(caught.value)
    variables = environ | {"NOA_USERNAME": "ada", "NOA_PASSWORD": "x"}
    assert find_credentials("https://mirror.example/token", variables).password == "x"
    for mode in (0o600, 0o400, 0o640):
        path.chmod(mode)
        found = find_credentials("https://mirror.example/token", environ, keyring=False)
        assert found.password == "hunter2"


def test_netrc_of_all_without_our_password_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine other.example login ada password hunter2\n")
    path.chmod(0o644)
    with pytest.raises(Exception, match="No user name"):
        find_credentials("https://mirror.example/token", {"NETRC": str(path)}, keyring=False)


# Bodies that inflate.


@pytest.mark.parametrize("kind", [K.TOKEN_BOMB, K.PAGE_BOMB], ids=lambda kind: kind.value)
async def test_bomb(kind: FaultKind) -> None:
    """200 kB that inflate to 200 MB are read no further than such an answer can be long."""
    once, ever = FaultPlan((Fault(kind),)), FaultPlan((Fault(kind, times=None),))
    async with Emulator(EmulatorSettings(products=3, faults=once)) as mirror:
        async with NoaClient(settings_for(mirror), WHO) as noa:
            assert await noa.count(ALL) == 3
        mirror.faults = ever
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with NoaClient(settings_for(mirror), WHO) as noa:
            with pytest.raises((ServiceFault, ServiceAway), match="larger than"):
                await noa.count(ALL)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


async def test_eight_pages_of_60_mib_at_once_take_bounded_memory(tmp_path: Path) -> None:
    """Small objects take most when they are parsed: 25 bytes of memory for each byte of JSON."""
    script = tmp_path / "measure.py"
    script.write_text(
        "import asyncio, resource, sys\n"
        "from noa_async import Credentials, NoaClient, RetryPolicy, Service, Settings\n"
        "from noa_async.errors import NoaError\n"
        "async def main(url):\n"
        "    service = Service(catalogue_url=f'{url}/Products', token_url=f'{url}/token')\n"
        "    settings = Settings(service=service, retry=RetryPolicy(retries=0))\n"
        "    async with NoaClient(settings, Credentials('a', 'b')) as noa:\n"
        "        await noa.log_in()\n"
        "        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "        asked = (noa.product(str(number)) for number in range(8))\n"
        "        found = await asyncio.gather(*asked, return_exceptions=True)\n"
        "        assert all(isinstance(each, NoaError) for each in found), found\n"
        "        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        "asyncio.run(main(sys.argv[1]))\n"
    )
    body = b'{"value": [' + b"{}," * (20 << 20) + b"{}]}"

    async def handle(request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            return web.json_response({"access_token": "a"})
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), url), stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
    finally:
        await runner.cleanup()
    assert process.returncode == 0
    assert int(out) < 200 << 10  # KiB


@pytest.mark.parametrize(
    ("label", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:100]) + gzip.compress(body[100:])),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("gzip", lambda body: body),
        ("deflate", lambda body: body),
        ("aws-chunked", lambda body: body),
        ("identity, none,", lambda body: body),
        ("aws-chunked, gzip", gzip.compress),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_codings(serve: Any, label: str, pack: Any) -> None:
    """Those that are asked for are decoded, and labels that are wrong do no harm."""
    said = json.dumps([{"a": number} for number in range(5000)]).encode()

    async def handle(request: web.BaseRequest) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip, deflate"
        return web.Response(body=pack(said), headers={"Content-Encoding": label})

    url = await serve(handle)
    async with Transport(Settings()) as transport:
        async with transport.request("GET", url) as response:
            assert await response.read(1 << 20) == said
        async with transport.request("GET", url) as response:
            assert await response.peek(50) == said[:50]


@pytest.mark.parametrize("label", ["br", "zstd", "compress", "gzip, gzip", "rot13"])
async def test_codings_that_were_not_asked_for(serve: Any, label: str) -> None:
    async def handle(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"x" * 100, headers={"Content-Encoding": label})

    url = await serve(handle)
    async with Transport(Settings()) as transport:
        async with transport.request("GET", url) as response:
            with pytest.raises(ServiceFault, match="which was not asked for"):
                await response.read(1 << 20)
        async with transport.request("GET", url) as response:
            assert await response.peek(50) == b""


@given(st.lists(st.binary(max_size=400), max_size=6), st.sampled_from(["gzip", "deflate", ""]))
def test_any_bytes_are_decoded_or_malformed(pieces: list[bytes], label: str) -> None:
    decoder = Decoder(codings({"Content-Encoding": label}))
    try:
        got = b"".join(out for piece in pieces for out in decoder.decode(piece)) + decoder.finish()
    except Malformed:
        assert label
    else:
        assert label or got == b"".join(pieces)


@given(st.binary(max_size=3000), st.integers(1, 50))
def test_a_body_is_decoded_however_it_is_cut_up(body: bytes, size: int) -> None:
    packed, decoder = gzip.compress(body), Decoder(("gzip",))
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(out for piece in pieces for out in decoder.decode(piece)) == body
    assert decoder.finish() == b""


def test_members_without_end_and_a_cut() -> None:
    empty = gzip.compress(b"")
    with pytest.raises(Malformed):
        list(Decoder(("gzip",)).decode(empty * 5000))
    decoder = Decoder(("gzip",))
    list(decoder.decode(gzip.compress(os.urandom(1000))[:-20]))
    with pytest.raises(Malformed):
        decoder.finish()
    with pytest.raises(UnknownCoding):
        Decoder(("br",))


# Patterns.


@pytest.mark.parametrize(
    "text",
    [
        "POLYGON(" + ") " * 500_000 + "x",
        "geography'SRID=4326;" + " " * 1_000_000 + "x",
        "POINT" + " " * 1_000_000 + "x",
        "A" * 1_000_000,
        "'" + "\t" * 500_000 + "SRID=" + "1" * 500_000,
    ],
    ids=["brackets", "blanks", "gap", "letters", "digits"],
)
def test_a_footprint_of_a_megabyte_takes_no_time(text: str) -> None:
    began = time.process_time()
    assert read_footprint(text) is None
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "start",
    ["<!---->", "<?xml>", "<!-- ", "<title", "<script>", "<", "session ", "limit of a ", "{", " "],
)
def test_a_refusal_of_any_form_takes_no_time(start: str) -> None:
    text = start * (100_000 // len(start))
    began = time.process_time()
    classify(403, {"X-Message": text[:8000]}, text.encode(), sender=Sender.LOGIN)
    assert not is_html(text)
    assert time.process_time() - began < 3


# What is imported.


def test_the_emulators_dependency_is_for_the_emulator() -> None:
    code = (
        "import sys, noa_async\n"
        "from noa_async import NoaClient, SyncNoaClient, Query\n"
        "import noa_async.cli.download\n"
        "sys.exit('odata_query' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
