"""Faults met beside the rows of the list: what one odd answer, file or row must not do."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from noa_async import (
    Following,
    NoaClient,
    OnRemoved,
    Outcome,
    Product,
    Query,
    RetryPolicy,
    Service,
    Settings,
)
from noa_async.answers import Meaning, classify
from noa_async.archive.archive import ANY_ARCHIVE, Archive
from noa_async.archive.database import open_database
from noa_async.archive.ledger import read_through
from noa_async.archive.manifest import Manifest, records_in
from noa_async.archive.overview import read_overview
from noa_async.archive.record import Record, first_record
from noa_async.archive.recovery import open_recovered, plausible
from noa_async.archive.rows import COLUMNS, row_of, upserts
from noa_async.archive.states import State
from noa_async.auth.grants import PASSWORD, Answer, Denial, Reader
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.emulator.errors import RefusedError
from noa_async.errors import DestinationFull, ServiceFault
from noa_async.events import RemovalRefused
from noa_async.threads import Threads

from ..archive.products import product, record
from ..archive.test_keeper import Fetching, keeper_of
from ..conftest import Serve
from ..integration.conftest import WHO, Connect, Recorder
from .test_archive import (
    DAY,
    START,
    Clock,
    Night,
    a_mirror,
    clock,
    folder,
    killed_and_ledger_lost,
    night,
    publish,
    recorder,
)

__all__ = ["clock", "folder", "night", "recorder"]  # fixtures

ALL = Query(everything=True)

# Answers


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, b'{"error": {"message": "The value of $skip, 10050, exceeds the limit of 10000."}}'),
        (400, b'{"detail": "Maximum number of requested products is 1000 ($top)"}'),
        (400, b'{"error": {"message": "The query exceeds the maximum number of nodes"}}'),
        (422, b'{"detail": [{"loc": ["query", "$top"], "msg": "exceeds maximum number"}]}'),
        (414, b"<title>414</title>The request URI exceeds the limit of 8192 bytes"),
        (431, b"Too many request headers"),
    ],
)
def test_a_limit_of_queries_is_no_quota(status: int, said: bytes) -> None:
    assert classify(status, {}, said, json_due=True).meaning is Meaning.PERMANENT


async def test_a_list_goes_on_by_time_past_a_skip_that_exceeds_a_limit(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(status: int, _: str) -> RefusedError:
        return RefusedError(status, "The value of $skip exceeds the limit of 100.")

    monkeypatch.setattr("noa_async.emulator.options.RefusedError", refused)
    settings = EmulatorSettings(products=700, mean_bytes=1000, max_skip=100, refused_links=True)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        assert len({product.id async for product in noa.search(ALL)}) == 700


@pytest.mark.parametrize(
    ("said", "had_token", "meaning"),
    [
        (b'{"message": "The incoming token has expired"}', True, Meaning.LOGIN),
        (b'{"message": "Expired token"}', True, Meaning.LOGIN),
        (b'{"message": "jwt expired"}', True, Meaning.LOGIN),
        (b'{"message": "The incoming token has expired"}', False, Meaning.EXPIRED),
        (b"<Error><Message>Request has expired</Message></Error>", True, Meaning.EXPIRED),
    ],
)
def test_a_403_to_our_expired_token_is_a_log_in(
    said: bytes, had_token: bool, meaning: Meaning
) -> None:
    assert classify(403, {}, said, had_token=had_token).meaning is meaning


async def test_a_gateway_that_says_403_to_an_expired_token(serve: Serve) -> None:
    """It takes the second token."""
    given: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            given.append(f"token-{len(given)}")
            return web.json_response({"access_token": given[-1], "expires_in": 600})
        if request.headers["Authorization"] != "Bearer token-1":
            return web.json_response({"message": "The incoming token has expired"}, status=403)
        return web.json_response({"value": []})

    base = await serve(answer)
    service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
    async with NoaClient(Settings(service=service, retry=RetryPolicy(retries=1)), WHO) as noa:
        assert [product async for product in noa.search(ALL)] == []
    assert len(given) == 2


async def test_an_order_that_speaks_of_a_quota_is_taken(serve: Serve) -> None:
    """It is sent once, and not for each time that its product is asked for."""
    sent: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/token"):
            return web.json_response({"access_token": "a", "expires_in": 600})
        sent.append(request.path)
        said = {"Status": "queued", "StatusMessage": "Queued; 3 of your quota of 20 are used"}
        return web.json_response(said, status=201)

    base = await serve(answer)
    service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
    async with NoaClient(Settings(service=service), WHO) as noa:
        orders = noa._downloads.transfers.orders
        assert [await orders.order("1") for _ in range(3)] == [False] * 3
        assert orders.has("1")
    assert len(sent) == 1


# Hooks


async def not_yet(_: Outcome) -> None:
    raise ValueError("not yet")


async def test_no_hook_runs_for_a_file_that_cannot_be_read(
    night: Night, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all, so the system's answer is made up."""
    seen: list[Path | None] = []

    async def look(outcome: Outcome) -> None:
        seen.append(outcome.path)

    async with a_mirror(3) as mirror:
        await night(mirror, after=not_yet)
        name = mirror.catalogue.products[1].name
        os.utime(folder / name, (5, 5))  # it has to be read
        really_open = os.open

        def refusing(path: str, *arguments: int, **more: int) -> int:
            if os.fspath(path).endswith(name):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return really_open(path, *arguments, **more)

        monkeypatch.setattr(os, "open", refusing)
        report = await night(mirror, after=look)
        assert (len(seen), None in seen, report.hooks_due) == (2, False, 1)
        monkeypatch.undo()
        seen.clear()
        assert (await night(mirror, after=look)).ok
        assert seen == [folder / name]


async def test_no_hook_runs_for_a_folder_that_is_out_of_reach(night: Night, folder: Path) -> None:
    seen: list[Path | None] = []

    async def look(outcome: Outcome) -> None:
        seen.append(outcome.path)

    async with a_mirror(20) as mirror:
        await night(mirror, after=not_yet, layout="date")
        blocked = folder / "2026/01/02"
        blocked.rename(folder / "elsewhere")
        blocked.symlink_to("02")
        report = await night(mirror, after=look)
        assert (len(seen), None in seen, report.hooks_due) == (16, False, 4)


async def test_a_file_that_its_hook_puts_out_of_reach_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            archive.ledger.put(record(State.VERIFIED, path="loop/x.zip", hook_due=1.0))
            why = await archive.hook_ended(product().id, None, consumes=False)
            known = archive.ledger.get(product().id)
    assert "loop/x.zip cannot be used" in (why or "")
    assert known is not None
    assert (known.state, known.hook_due) == (State.VERIFIED, None)


# Files


@pytest.mark.parametrize("state", list(State))
async def test_whatever_was_known_a_file_may_be_out_of_reach(tmp_path: Path, state: State) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            path = None if state in {State.CONSUMED, State.REMOVED} else "loop/x.zip"
            archive.ledger.put(record(state, path=path))
            outcome = await keeper_of(archive, Fetching(ServiceFault("503"))).bring(product())
            known = archive.ledger.get(product().id)
    assert known is not None
    assert isinstance(outcome, Outcome)
    assert outcome.ok == (state is State.CONSUMED)
    assert (known.state is State.QUARANTINED) == (state is State.QUARANTINED)


@pytest.mark.parametrize("keep_trash", [timedelta(30), timedelta(0)])
@pytest.mark.parametrize("how", ["out of reach", "cannot be moved"])
async def test_one_file_that_cannot_be_deleted_does_not_hold_up_the_others(
    night: Night,
    folder: Path,
    clock: Clock,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    keep_trash: timedelta,
) -> None:
    following = Following(
        on_removed=OnRemoved.DELETE, max_delete=1.0, check_files=False, keep_trash=keep_trash
    )
    async with a_mirror(40) as mirror:
        await night(mirror, layout="date", following=following)
        stuck, gone = mirror.catalogue.products[5], mirror.catalogue.products[20]
        for one in (stuck, gone):
            mirror.catalogue.remove(one.id)
        await night(mirror, following=following, reconcile=True)
        clock.pass_by(4)
        publish(mirror, 1, "N", 20)
        [file] = (folder / "2026").rglob(stuck.name)
        if how == "out of reach":
            file.parent.rename(folder / "elsewhere")
            file.parent.symlink_to(file.parent.name)
        else:
            monkeypatch.setattr(os, "replace", refusing(os.replace, stuck.name))
            monkeypatch.setattr(Path, "unlink", refusing(Path.unlink, stuck.name))
        report = await night(mirror, following=following, reconcile=True)
        [refused] = recorder.of(RemovalRefused)
        assert isinstance(refused, RemovalRefused)
        assert (refused.product_id, report.removed) == (stuck.id, 1)
        assert report.watermark == START + 20 * DAY
        assert not list((folder / "2026").rglob(gone.name))


def refusing(really: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A call that may not be made with a file of that name."""

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really(path, *arguments, **more)

    return refuse


@pytest.mark.parametrize(
    "name", ["2026-01-02.bob's", "2026-01-02.keep", "20260102", "a file", "a link"]
)
async def test_what_others_put_into_the_trash_is_left_alone(
    night: Night, folder: Path, tmp_path: Path, name: str
) -> None:
    async with a_mirror(3) as mirror:
        await night(mirror)
        mine = folder / ".noa-async/trash" / (name if "." in name or "0" in name else "2026-01-02")
        mine.parent.mkdir()
        if name == "a file":
            mine.touch()
        elif name == "a link":
            (tmp_path / "mine").mkdir()
            mine.symlink_to(tmp_path / "mine")
        else:
            mine.mkdir()
        assert (await night(mirror)).ok
        assert mine.exists()


# Ledgers


@pytest.mark.parametrize(
    "changes",
    [
        {"checksums": None},
        {"checksums": 5},
        {"failures": None},
        {"failures": "x"},
        {"attempts": "x"},
        {"absences": -1},
        {"hooked": "x"},
        {"looked": "x"},
        {"accepted": b"x"},
        {"error": 5},
        {"trash": 5},
        {"footprint": b"x"},
    ],
)
def test_a_row_with_a_garbled_column_is_not_believed(changes: dict[str, object]) -> None:
    held = dict(zip(COLUMNS, row_of(record(State.VERIFIED, updated=5.0)), strict=True))
    assert plausible(held) is not None
    assert plausible(held | changes) is None


def ledger_of(folder: Path, count: int) -> Path:
    path = folder / "ledger.sqlite3"
    rows = [
        row_of(record(State.VERIFIED, product=product(f"id{n:06}"), path=f"{n}.zip", updated=5.0))
        for n in range(count)
    ]
    with closing(open_database(path)) as database:
        database.write(upserts(iter(rows)))
    return path


@pytest.mark.parametrize("column", ["checksums", "failures"])
def test_a_row_that_lost_a_column_costs_itself_alone(tmp_path: Path, column: str) -> None:
    path = ledger_of(tmp_path, 1200)
    with closing(sqlite3.connect(path)) as raw:
        [sql] = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'products'").fetchone()
        lax = sql.replace("NOT NULL", "")
    for schema, change in (
        (lax, f"UPDATE products SET {column} = NULL WHERE number = 7"),
        (sql, ""),
    ):
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("PRAGMA writable_schema = ON")
            raw.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'products'", (schema,))
            raw.commit()
        with closing(sqlite3.connect(path)) as raw:
            raw.execute(change)
            raw.commit()
    opened = open_recovered(path, suspect=True, anew=True, read=read_through)
    with closing(opened) as database:
        assert database.recovered == 1199


@pytest.mark.parametrize("number", [5000, 2**40, 2**62, 2**63 - 1])
def test_a_number_far_beyond_all_others_takes_no_time(tmp_path: Path, number: int) -> None:
    path = ledger_of(tmp_path, 600)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE products SET number = ? WHERE number = 600", (number,))
        raw.commit()
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"id000300", b"\xff" * 8))
    tracemalloc.start()
    opened = open_recovered(path, suspect=True, anew=True, read=read_through)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with closing(opened) as database:
        assert database.recovered == 599
    assert most < 50e6


def test_lines_that_found_no_room_in_the_manifest_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(tmp_path)

    def note(name: str) -> None:
        manifest.note(record(State.VERIFIED, product=product(name), updated=1.0))

    class Full(io.FileIO):
        def write(self, data: Any, /) -> int:
            super().write(data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")

    note("one")
    manifest.flush()
    note("two")
    with monkeypatch.context() as patch:
        patch.setattr(
            "noa_async.archive.manifest.open", lambda path, *_, **__: Full(path, "a"), raising=False
        )
        with pytest.raises(DestinationFull):
            manifest.flush()
    note("three")
    manifest.flush()
    found = [one.id for one in records_in(manifest.read()) if isinstance(one, Record)]
    assert found == ["one", "two", "three"]


async def test_a_check_between_does_not_count_as_the_run_after_a_lost_ledger(
    night: Night, folder: Path
) -> None:
    """A hook is still due for what the ledger lost, though the folder was only looked at since."""
    ran: list[str] = []

    async def hook(outcome: Outcome) -> None:
        ran.append(outcome.product.id)

    async with a_mirror(3) as mirror:
        late = await killed_and_ledger_lost(mirror, night, folder, hook)
        ran.clear()
        with Threads(1) as pool:
            async with Archive(folder, None, pool, anew=False, rules=ANY_ARCHIVE):
                pass
        assert (await night(mirror, after=hook)).ok
        assert ran == [late.id]
        assert (await night(mirror, after=hook, reconcile=True)).ok
        assert ran == [late.id]


@pytest.mark.parametrize("size", [2**63 - 1, 2**62, str(2**63 - 1), 9e18])
def test_a_status_adds_up_sizes_that_cannot_be(tmp_path: Path, size: object) -> None:
    state = tmp_path / ".noa-async"
    state.mkdir()
    sensed = [(START + day * DAY).isoformat() for day in range(3)]
    rows = [
        row_of(first_record(Product.from_entry(entry), State.LISTED, 5.0))
        for entry in (
            {"Id": f"id{n}", "Name": "N", "ContentLength": size, "ContentDate": {"Start": day}}
            for n, day in enumerate(sensed)
        )
    ]
    with closing(open_database(state / "ledger.sqlite3")) as database:
        database.write(upserts(iter(rows)))
    [amount] = read_overview(tmp_path).states
    assert (amount.products, amount.bytes) == (3, 0)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_a_clock_that_was_ahead_wrote_does_not_outlive_what_came_later(
    tmp_path: Path, *, at_once: bool
) -> None:
    """A product came in a night with a wrong clock, and was removed since."""
    manifest, now = Manifest(tmp_path), time.time()
    manifest.note(record(State.VERIFIED, updated=now + 9e8))
    manifest.flush()
    for n in range(5 if at_once else 700):
        manifest.note(record(State.VERIFIED, product=product(f"{n}"), path=f"{n}", updated=now))
    manifest.note(record(State.REMOVED, updated=now - 60))
    manifest.flush()
    path = tmp_path / "ledger.sqlite3"
    opened = open_recovered(path, suspect=True, anew=True, read=read_through)
    with closing(opened) as database:
        question = "SELECT state, path FROM products WHERE id = ?"
        assert database.row(question, (product().id,)) == ("removed", None)


async def test_a_run_that_finds_nothing_new_does_not_copy_the_ledger(
    night: Night, folder: Path
) -> None:
    copy = folder / ".noa-async/copies/ledger-1.sqlite3"
    async with a_mirror(5) as mirror:
        await night(mirror)
        made = copy.stat().st_ino
        await night(mirror)
        assert copy.stat().st_ino == made
        publish(mirror, 1, "N")
        await night(mirror)
        assert copy.stat().st_ino != made
        made = copy.stat().st_ino
        os.utime(copy, (time.time() - 4000,) * 2)
        await night(mirror)
        assert copy.stat().st_ino != made


# Log-in


@pytest.mark.parametrize("word", ["session", "limit", "too many ", "temporar", "failed "])
def test_a_long_error_of_the_log_in_service_takes_no_time(word: str) -> None:
    body = json.dumps({"error": "invalid_grant", "error_description": word * 20_000}).encode()
    reader = Reader(Service(), WHO)
    began = time.perf_counter()
    found = reader.read(Answer(400, {}, body[:200_000]), PASSWORD, 0.0)
    assert isinstance(found, Denial)
    assert time.perf_counter() - began < 1
