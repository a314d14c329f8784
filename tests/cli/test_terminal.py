"""The bars as they stand on a terminal, frame by frame, drawn by the real program."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from noa_async.cli.text import bytes_text
from noa_async.emulator import Emulator, Fault, FaultKind, FaultPlan

from .conftest import Open, until
from .terminal import Terminal

ALL = ("download", "--everything", "--output", "data")
BAR = re.compile(r"(?P<name>\S+ +)? *(?P<percent>\d+)%\|(?P<bar>[█▉▊▋▌▍▎▏ ]+)\| (?P<figures>.+)")
TOTAL = re.compile(
    r"(?:\d+/\d+ products  )?(?P<have>[\d.]+ k?M?B)(?: of |/)~?(?P<whole>[\d.]+ k?M?B)\+? +"
    r"(?P<rate>[\d.]+ k?M?B)/s(?:  (?:\?|[\d.]+ s|\d+ min \d\d s) left)?"
)
DOCS = Path(__file__).parent.parent.parent / "docs" / "progress.md"
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6}
CUTS = FaultPlan((Fault(FaultKind.CUT, index=3), Fault(FaultKind.CUT, index=9)))
SIXTEEN = {"products": 40, "mean_bytes": 800_000, "rate": 500_000.0, "faults": CUTS}


def size_of(text: str) -> float:
    number, unit = text.split()
    return float(number) * UNITS[unit]


def bars_of(frame: list[str]) -> list[re.Match[str]]:
    """The bars of a frame: rows as they should be, at its foot, none of them broken."""
    assert all(row.endswith(" ") for row in frame)  # a row that fills its last column may wrap
    rows = [row.rstrip() for row in frame]
    while rows and not rows[-1]:
        rows.pop()
    first = next((place for place, row in enumerate(rows) if "%|" in row), len(rows))
    drawn = [BAR.fullmatch(row) for row in rows[first:] if row]
    assert all(drawn), rows
    bars = [one for one in drawn if one]
    assert all(not one["name"] for one in bars[:1])  # the first is that of the whole run
    assert all(one["name"] for one in bars[1:])
    return bars


def totals_of(frames: list[list[str]]) -> list[re.Match[str]]:
    totals = [TOTAL.fullmatch(bars[0]["figures"]) for bars in map(bars_of, frames) if bars]
    assert all(totals)
    return [one for one in totals if one]


def whole(mirror: Emulator) -> int:
    return sum(product.size for product in mirror.catalogue.products)


def shape(row: str) -> str:
    """A product's row without how far it is."""
    return re.sub(r" *\d+%\|[^|]*\|", lambda part: f"<{len(part[0])}>", row.rstrip())


def recorded(columns: int) -> list[str]:
    """The frame that the documentation shows for a terminal of that width."""
    return (
        DOCS.read_text("utf-8")
        .split(f"\n## {columns} columns\n")[1]
        .split("```")[1]
        .split("\n")[1:-1]
    )


@pytest.mark.parametrize("columns", [80, 40])
async def test_bars_of_sixteen_workers(open_mirror: Open, columns: int) -> None:
    mirror, noa = await open_mirror(**SIXTEEN)
    terminal = Terminal(columns, rows=40)
    assert await terminal.run(noa, *ALL, "--workers", "16") == 0
    bars = [bars_of(frame) for frame in terminal.frames]
    assert len(bars) > 20
    assert max(map(len, bars)) == 17

    totals = totals_of(terminal.frames)
    shown = [size_of(total["have"]) for total in totals]
    assert shown == sorted(shown)  # not even where a cut takes bytes away
    assert {total["whole"] for total in totals[len(totals) // 2 :]} == {bytes_text(whole(mirror))}
    assert all(("products" in total[0]) == (columns == 80) for total in totals)

    end = terminal.end()
    assert end[-1] == "They are in data."
    assert not [row for row in end if "%|" in row]
    assert re.sub(r"\s+", "", "".join(end)).count("brokeoff") == 2  # said above the bars, whole

    rows = {shape(row) for frame in terminal.frames for row in frame if "%|" in row}
    total, *products = recorded(columns)
    assert TOTAL.fullmatch(BAR.fullmatch(total)["figures"])  # type: ignore[index]
    assert len(products) == 16
    assert {shape(row) for row in products} <= rows, "\n".join(terminal.frames[15])


async def test_a_row_is_a_products_own_while_it_runs(open_mirror: Open) -> None:
    _, noa = await open_mirror(**SIXTEEN)
    terminal = Terminal(80, rows=40)
    assert await terminal.run(noa, *ALL, "--workers", "16") == 0
    at: dict[str, int] = {}
    for frame in terminal.frames:
        first = next((row for row, text in enumerate(frame) if "%|" in text), 0)
        for row, text in enumerate(frame):
            if (bar := BAR.fullmatch(text.rstrip())) and bar["name"]:
                assert at.setdefault(bar["name"], row - first) == row - first


async def test_another_width_is_followed(open_mirror: Open) -> None:
    _, noa = await open_mirror(**SIXTEEN)
    terminal = Terminal(80, rows=40)
    widths = {8: 40, 20: 120}

    def each() -> None:
        if columns := widths.get(len(terminal.frames)):
            terminal.resize(columns)

    assert await terminal.run(noa, *ALL, "--workers", "16", each=each) == 0
    places = [*widths, len(terminal.frames)]
    for place, columns, end in zip(widths, widths.values(), places[1:], strict=False):
        frames = [frame for frame in terminal.frames[place:end] if width_of(frame)]
        good = [width_of(frame) == columns - 1 for frame in frames]
        assert True in good[:3]  # one or two may have been on their way
        assert all(good[good.index(True) :])
        assert all(bars_of(frame) for frame in frames[good.index(True) :])
    assert terminal.end()[-1] == "They are in data."
    assert not [row for row in terminal.end() if "%|" in row]


def width_of(frame: list[str]) -> int:
    """How wide the bar of the whole run is; 0 where none is drawn."""
    return max(
        (len(row.rstrip()) for row in frame if row.rstrip().endswith(("B/s", " left"))), default=0
    )


async def test_a_low_terminal_shows_as_many_as_fit(open_mirror: Open) -> None:
    _, noa = await open_mirror(**SIXTEEN)
    terminal = Terminal(80, rows=8)
    assert await terminal.run(noa, *ALL, "--workers", "16") == 0
    assert max(len(bars_of(frame)) for frame in terminal.frames) == 6
    assert terminal.end()[-1] == "They are in data."


async def test_what_was_there_before_is_no_speed(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=8, mean_bytes=4_000_000, rate=4_000_000.0)
    process = await noa.start(*ALL, "--workers", "8")
    parts = noa.folder / "data/.noa-async/parts"
    await until(lambda: sum(part.stat().st_size for part in parts.glob("*.part")) > 12_000_000)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    mirror.stats.bytes_sent = 0
    terminal = Terminal(80)
    assert await terminal.run(noa, *ALL, "--workers", "8") == 0
    totals = totals_of(terminal.frames)
    assert size_of(totals[-1]["have"]) > 0.9 * whole(mirror)
    assert mirror.stats.bytes_sent < whole(mirror) - 10_000_000
    arrived = max(size_of(total["rate"]) for total in totals)
    assert arrived < 1.5 * 8 * 4_000_000.0  # all that the mirror gives


async def test_lines_are_plain_in_a_pipe_and_few_in_cron(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=5)
    ended = await noa(*ALL)
    assert (ended.code, ended.out) == (0, "")
    assert len([line for line in ended.err.split("\n") if line.startswith("downloaded  ")]) == 5
    assert ended.err.replace("\n", "").isprintable()
    for verb in ("download", "mirror", "mirror"):
        ended = await noa(verb, "--everything", "--output", f"cron-{verb}", "-q")
        assert (ended.code, ended.out, ended.err) == (0, "", "")
