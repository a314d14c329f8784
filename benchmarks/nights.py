"""A year of nightly runs, with all that happens in one: the folder and the catalogue at its end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from benchmarks.machine import describe, sentence
from benchmarks.mirrors import MirrorProcess
from benchmarks.mishaps import FAILING, strike, unmounted
from benchmarks.night import Ended, live
from benchmarks.years import Night, Year
from noa_async.archive.acceptance import forget
from noa_async.archive.archive import Archive
from noa_async.archive.database import read_database
from noa_async.archive.rows import COLUMNS, record_of
from noa_async.archive.states import State
from noa_async.emulator import EmulatorSettings
from noa_async.threads import Threads

if TYPE_CHECKING:
    import argparse

    from noa_async.archive.record import Record
    from noa_async.emulator import Delivery, Emulator

JSON = Path(__file__).parent / "results" / "nights.json"
LATENCY = 0.002
MONTH = 30
MAX_DELETE = 0.05
"""The largest part that a night may delete; the day after one that held back, a person lets it."""
LET = 0.5
_KILLED = -9
_NIGHT_SECONDS = 60
_TIMERS: list[asyncio.TimerHandle] = []
"""In the emulator's process."""

Revision = tuple[str, int]
"""An Id and its revision."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--nights", type=int, default=365, help="how many (365)")
    parser.add_argument("--seed", type=int, default=1, help="another year (1)")
    parser.add_argument("--products", type=float, default=8, help="published a night (8)")
    parser.add_argument(
        "--mishap-every", type=int, default=0, help="a mishap in one night of so many (0: none)"
    )
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Live through the year; 1 where folder and catalogue differ at its end."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nights-") as folder:
        os.environ["NOA_STATE_HOME"] = f"{folder}/state"
        year = Year(arguments.seed, arguments.products, mishap_every=arguments.mishap_every)
        with Nights(year, Path(folder) / "archive") as nights:
            for number in range(1, arguments.nights + 1):
                nights.live(year.night(number))
                if number % MONTH == 0:
                    print(nights.line(number), flush=True)
            nights.end(arguments.nights + 1)
            results = nights.results()
    results = {
        "suite": "nights",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "seed": arguments.seed,
        "seconds": round(time.perf_counter() - began),
        **results,
    }
    print(table(results))
    if not arguments.no_write:
        JSON.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if not results["differences"] else 1


@dataclass(slots=True)
class Tally:
    """What adds up over the nights."""

    codes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    """Bytes of products that the emulator sent."""
    asked: dict[Revision, int] = field(default_factory=dict)
    """Every revision of which bytes were sent, and its size."""
    whole: dict[Revision, int] = field(default_factory=dict)
    """Every revision that was sent whole, and the night of it."""
    known: set[str] = field(default_factory=set)
    """The checksum of every revision there ever was."""
    killed: list[int] = field(default_factory=list)
    """Nights that were killed while they ran."""
    too_late: int = 0
    """Nights that had ended when the kill came."""
    held: int = 0
    removed: int = 0
    spoilt: dict[str, int] = field(default_factory=dict)
    """Products whose files were spoilt by hand, and the night of it."""
    spoilt_bytes: int = 0
    gone: dict[str, int] = field(default_factory=dict)
    """Products that the service removed, and the night of it."""
    accepted: int = 0
    """Findings that a person took out at the end."""
    differences: list[str] = field(default_factory=list)


class Nights:
    """Nights lived through one after the other.

    Resources: a context manager; the emulator's process ends with it.
    """

    def __init__(self, year: Year, folder: Path, *, alone: bool = True) -> None:
        """``alone``: each run is a process of its own, not only those that are killed."""
        self.tally = Tally()
        self._year = year
        self._folder = folder
        self._alone = alone
        self._mirror = MirrorProcess(EmulatorSettings(products=0, latency=LATENCY))
        self._seconds: list[float] = [0.2]
        self._held = False
        self._spoilt: set[str] = set()
        """Files that were spoilt by hand since the last night in which all was well."""
        self._log = folder.with_name(f"{folder.name}-hooks")

    def __enter__(self) -> Self:
        self._mirror.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._mirror.__exit__(*reason)

    def live(self, night: Night) -> None:
        """One night, from what changes in the catalogue to what the emulator saw of the run."""
        usual = median(self._seconds[-20:])
        away = None if night.outage is None else night.outage * usual
        self.tally.known.update(self._mirror.ask(partial(_prepare, night, away)))
        for change in night.changes:
            if change.remove is not None:
                self.tally.gone[change.remove] = night.number
            if change.add is not None:
                self.tally.gone.pop(change.add.id, None)
        self._strike(night)
        with unmounted(self._folder, night.mishap) as is_away:
            ended = self._run(night, None if night.crash is None else night.crash * usual)
            if is_away and any(self._folder.iterdir()):
                self._differs(f"night {night.number}: something was begun on the mount point")
        if is_away:
            self.tally.codes["no disk"] += 1
            if ended is not None and ended.code != 5:
                self._differs(f"night {night.number}: no disk, and {ended}")
        elif ended is None:
            self.tally.codes["killed"] += 1
            self.tally.killed.append(night.number)
        else:
            self.tally.codes[str(ended.code)] += 1
            self._judge(night, ended)
        self._count(night)

    def _judge(self, night: Night, ended: Ended) -> None:
        """Whether a night's run ended as it should, and what that means for the next."""
        self._seconds.append(ended.seconds)
        if ended.code == 0:
            self._spoilt.clear()
        self.tally.held += ended.held
        self._held = ended.held or (self._held and not ended.full)
        self.tally.removed += ended.removed
        for product_id in ended.removed_ids:
            if self.tally.gone.get(product_id, night.number) >= night.number:
                self._differs(f"night {night.number}: deleted {product_id} unconfirmed")
        shrunk = (night.mishap or "").endswith("listing")
        if shrunk and (ended.removed or ended.code == 0):
            self._differs(f"night {night.number}: {night.mishap}, and {ended}")
        if ended.code not in {0, 1, 4} or (ended.code == 4 and not _troubled(night)):
            self._differs(f"night {night.number}: {ended}")

    def _strike(self, night: Night) -> None:
        """Let what befalls the archive before the run happen."""
        if night.mishap is None:
            return
        paths = self._paths_of_products()
        spoilt = strike(self._folder, night.mishap, night.seed, paths)
        self._spoilt.update(spoilt)
        for path in spoilt:
            product = self._year.catalogue.get(paths[path])
            self.tally.spoilt[product.id] = night.number
            self.tally.spoilt_bytes += product.size

    def _paths_of_products(self) -> dict[str, str]:
        """The Ids of products that the service has, by the paths at which they lie."""
        if not (self._folder / ".noa-async/ledger.sqlite3").exists():
            return {}
        found = {}
        for record in self._records():
            if record.state is State.VERIFIED and self._year.catalogue.has(record.id):
                found[str(record.path)] = record.id
        return found

    def _records(self) -> list[Record]:
        database = read_database(self._folder / ".noa-async/ledger.sqlite3")
        try:
            rows = database.rows(f"SELECT {', '.join(COLUMNS)} FROM products")
        finally:
            database.close()
        return [record_of(row) for row in rows]

    def end(self, number: int) -> None:
        """Good nights, until whatever the service removed is gone here, and nothing is to do.

        A person takes out what cannot be mended: files that were spoilt by hand, and whose
        products the service has no more.
        """
        for more in (0, 4, 8):
            self.live(self._year.last(number + more))
        there = {record.id: record for record in self._records()}
        left = [
            one
            for one in there.values()
            if one.state is not State.REMOVED and not self._year.catalogue.has(one.id)
        ]
        asyncio.run(_take_out(self._folder, [one.id for one in left if not one.held]))
        for record in left:
            if not record.held and record.path is not None:
                self.tally.accepted += 1
                (self._folder / record.path).unlink(missing_ok=True)
        hooked = set(self._log.read_text().split()) if self._log.exists() else set()
        for product in self._year.catalogue.products:
            if product.id not in hooked:
                self._differs(f"the hook of {product.name} never passed")

    def _run(self, night: Night, kill_after: float | None) -> Ended | None:
        """The night's run; None where it was killed."""
        most = LET if self._held or night.reconcile else MAX_DELETE
        options = str(self._folder), night.now.timestamp(), night.on_removed, most
        hooks = str(self._log), FAILING if night.mishap == "failing hooks" else 0
        if kill_after is None and (night.reconcile or not self._alone):
            environ = self._mirror.environment()
            return asyncio.run(
                live(*options, reconcile=night.reconcile, environ=environ, hooks=hooks)
            )
        arguments = map(str, (*options, *hooks, night.reconcile))
        command = [sys.executable, "-m", "benchmarks.night", *arguments]
        environ = os.environ | self._mirror.environment()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it begins
            if kill_after is not None:
                time.sleep(kill_after)
                process.kill()
            said, _ = process.communicate(timeout=_NIGHT_SECONDS)
        if process.returncode == _KILLED:
            return None
        self.tally.too_late += kill_after is not None
        return Ended(**json.loads(said))

    def _count(self, night: Night) -> None:
        """What the emulator sent, and whether any of it was needless."""
        tally = self.tally
        for key, answers in self._mirror.ask(_deliveries).items():
            product = self._year.catalogue.get(key)
            revision = (key, product.revision)
            tally.asked[revision] = product.size
            for answer in answers:
                tally.sent += answer.bytes_sent
                if answer.bytes_sent < product.size:
                    continue
                before = tally.whole.setdefault(revision, night.number)
                if key in tally.spoilt:
                    continue
                if before != night.number and before not in tally.killed:
                    self._differs(
                        f"night {night.number}: {product.name} came whole in night {before}"
                    )

    def _differs(self, how: str) -> None:
        self.tally.differences.append(how)

    def check_files(self) -> None:
        """Every file is a revision that there was, whatever its name."""
        for path, md5 in sums(self._folder).items():
            if md5 not in self.tally.known and path not in self._spoilt:
                self._differs(f"{path} is no product")

    def line(self, number: int) -> str:
        """How far the nights are; every file is read for it."""
        self.check_files()
        files = len(sums(self._folder))
        return (
            f"night {number:4}: {len(self._year.catalogue):5} in the catalogue, {files:5} in the "
            f"folder, {self._ratio():.3f} times the bytes, {len(self.tally.killed):3} killed, "
            f"{len(self.tally.differences)} differences"
        )

    def _ratio(self) -> float:
        needed = sum(self.tally.asked.values()) + self.tally.spoilt_bytes
        return self.tally.sent / max(1, needed)

    def compare(self) -> None:
        """Catalogue, folder and ledger, product for product."""
        wanted = self._mirror.ask(_wanted)
        files = sums(self._folder)
        with_path = {}
        for record in self._records():
            if record.hook_due is not None:
                self._differs(f"the hook of {record.product.name} is due")
            if record.state is State.VERIFIED and record.gone is None and record.todo is None:
                with_path[record.id] = str(record.path)
            elif record.state is not State.REMOVED or record.id in wanted:
                self._differs(f"the ledger says {record.state} of {record.product.name}")
        for key, (name, md5) in wanted.items():
            if files.get(with_path.get(key, "")) != md5:
                self._differs(f"{name} is not there, or not right")
        for key in with_path.keys() - wanted.keys():
            self._differs(f"the ledger has {key}, the catalogue has not")
        for path in files.keys() - set(with_path.values()):
            self._differs(f"{path} is nobody's")
        self._compare_what_is_beside()

    def _compare_what_is_beside(self) -> None:
        """No part is left, and in quarantine nothing but whole products.

        A run that is killed between a name and its line in the ledger leaves a file that nobody
        knows of; where the product is replaced before the next run, that is put aside.
        """
        state = self._folder / ".noa-async"
        aside = sums(state / "quarantine")
        left = [f"parts/{part.name}" for part in (state / "parts").iterdir()]
        left += [f"quarantine/{path}" for path, md5 in aside.items() if md5 not in self.tally.known]
        for path in left:
            self._differs(f"{path} was left")

    def results(self) -> dict[str, Any]:
        """The closing figures; everything is compared for them."""
        self.check_files()
        self.compare()
        tally = self.tally
        return {
            "nights": sum(tally.codes.values()),
            "endings": dict(tally.codes),
            "killed_too_late": tally.too_late,
            "catalogue": len(self._year.catalogue),
            "folder": len(sums(self._folder)),
            "happened": self._year.figures,
            "files_deleted": tally.removed,
            "deletions_held": tally.held,
            "files_spoilt": len(tally.spoilt),
            "findings_accepted": tally.accepted,
            "revisions_fetched": len(tally.asked),
            "bytes_of_them": sum(tally.asked.values()),
            "bytes_sent": tally.sent,
            "ratio": round(self._ratio(), 4),
            "differences": tally.differences,
        }


async def _take_out(folder: Path, product_ids: list[str]) -> None:
    with Threads(1) as pool:
        async with Archive(folder, None, pool, anew=False) as archive:
            await forget(archive, product_ids)


def _troubled(night: Night) -> bool:
    """Whether a run may end because of the service."""
    return night.outage is not None or any(
        fault.times is None and fault.kind.scope == "page" for fault in night.faults.faults
    )


def sums(folder: Path) -> dict[str, str]:
    """The MD5 of every file that is not the archive's own, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".noa-async" not in path.relative_to(folder).parts
    }


def _prepare(night: Night, away: float | None, mirror: Emulator) -> list[str]:
    """Set the night up in the emulator; the checksums of what is new."""
    mirror.stats.reset()
    while _TIMERS:  # that of a run which ended before
        _TIMERS.pop().cancel()
    mirror.outage = away == 0
    if away:
        loop = asyncio.get_running_loop()
        _TIMERS.append(loop.call_later(away, setattr, mirror, "outage", True))
    for change in night.changes:
        change.apply(mirror.catalogue)
    mirror.faults = night.faults
    new = [change.product or (change.add and change.add.id) for change in night.changes]
    return [mirror.content(key).md5 for key in new if key and mirror.catalogue.has(key)]


def _deliveries(mirror: Emulator) -> dict[str, list[Delivery]]:
    return dict(mirror.stats.downloads)


def _wanted(mirror: Emulator) -> dict[str, tuple[str, str]]:
    return {one.id: (one.name, mirror.content(one.id).md5) for one in mirror.catalogue.products}


def table(results: dict[str, Any]) -> str:
    """The closing figures as text."""
    happened = ", ".join(f"{n} {name}" for name, n in results["happened"].items())
    endings = ", ".join(f"{n} with {code}" for code, n in sorted(results["endings"].items()))
    fetched = f"{results['revisions_fetched']} revisions fetched with {results['bytes_sent']:,}"
    deleted = f"{results['files_deleted']} files deleted, held back in"
    lines = [
        f"{results['nights']} nights ended: {endings}",
        f"the catalogue: {happened}",
        f"at the end {results['catalogue']} products there, {results['folder']} files here",
        f"{deleted} {results['deletions_held']} nights",
        f"{fetched} bytes, {results['ratio']} times their own",
        f"{len(results['differences'])} differences",
        *(f"  {one}" for one in results["differences"][:20]),
        sentence(results["machine"]),
    ]
    return "\n".join(lines)
