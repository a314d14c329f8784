"""The bars as they stand on a terminal, frame by frame, drawn by the real program."""

from __future__ import annotations

import io
import os
import re
import signal
from pathlib import Path

import pyte
import pytest

from noa_async.cli.bars import Bars, total_text
from noa_async.cli.text import bytes_text
from noa_async.emulator import Emulator, Fault, FaultKind, FaultPlan
from noa_async.events import (
    AllQueued,
    ProductFinished,
    ProductQueued,
    Status,
    TransferAdvanced,
    TransferStarted,
)
from noa_async.progress import Progress, Transfer

from .conftest import Open, gathered, until
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
    rows = [row.rstrip() for row in frame]
    while rows and not rows[-1]:
        rows.pop()
    first = next((place for place, row in enumerate(rows) if "%|" in row), len(rows))
    # A row that fills its last column may wrap; what was said at another width stands above.
    assert all(row.endswith(" ") for row in frame[first:])
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
    steady = {shape(row) for row in products if "waiting" not in row}  # that may be between frames
    assert steady <= rows, "\n".join(terminal.frames[15])


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
    await until(lambda: gathered(parts) > 12_000_000)
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


class Reflowing(pyte.Screen):
    """A terminal that breaks its rows anew where it is made narrower, as many do."""

    def narrow(self, columns: int) -> None:
        rows = [row.rstrip() for row in self.display]
        above = sum(max(1, -(-len(row) // columns)) for row in rows[: self.cursor.y])
        self.reset()
        self.resize(self.lines, columns)
        pyte.Stream(self).feed("\r\n".join(rows).rstrip())
        self.cursor_position(above + 1, 1)


@pytest.fixture
def bars() -> Bars:
    """Bars of two workers on a terminal of 80 by 24."""
    made = Bars(0, 2, io.StringIO())
    made._ascii = False
    return made


def written(bars: Bars) -> str:
    """What they have written since this was asked last."""
    stream = bars._frame._stream
    assert isinstance(stream, io.StringIO)
    text = stream.getvalue().replace("\n", "\r\n")  # as the terminal's driver does
    stream.seek(0)
    stream.truncate()
    return text


def under_way() -> Progress:
    progress = Progress()
    for place in "ab":
        progress(ProductQueued(place, f"S2A_MSIL2A_{place * 30}", 5_000_000))
        progress(TransferStarted(place, f"S2A_MSIL2A_{place * 30}", 1, 2_000_000, 5_000_000))
    progress(AllQueued())
    return progress


def narrowed(bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars._frame, "size", lambda: os.terminal_size((40, 24)))


def shown_on(screen: pyte.Screen) -> list[str]:
    return [row.rstrip() for row in screen.display if row.strip()]


def test_a_terminal_that_breaks_its_rows_is_wiped(
    bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Reflowing(80, 24)
    bars.line("said before")
    bars.draw(under_way(), 1e6)
    pyte.Stream(screen).feed(written(bars))
    screen.narrow(40)
    assert len(shown_on(screen)) == 7
    narrowed(bars, monkeypatch)
    bars.draw(under_way(), 1e6)
    pyte.Stream(screen).feed(written(bars))
    said, *rows = shown_on(screen)
    assert said == "said before"
    assert len(rows) == 3
    assert all(BAR.fullmatch(row) for row in rows)


def test_a_frame_on_its_way_to_a_narrower_terminal_breaks_no_row(
    bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = pyte.Screen(40, 24)
    bars.draw(under_way(), 1e6)  # for 80 columns
    narrowed(bars, monkeypatch)
    bars.draw(under_way(), 1e6)
    pyte.Stream(screen).feed(written(bars))
    assert len(shown_on(screen)) == 3
    assert all(BAR.fullmatch(row) for row in shown_on(screen))


def test_what_is_said_just_after_a_resize_is_made_for_it(
    bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = pyte.Screen(40, 24)
    bars.draw(under_way(), 1e6)
    narrowed(bars, monkeypatch)
    bars.line("retry in 0.5 s  S2A_MSIL2A: The answer broke off")
    pyte.Stream(screen).feed(written(bars))
    assert shown_on(screen) == ["retry in 0.5 s  S2A_MSIL2A: The answer", "  broke off"]


def test_bytes_that_come_again_stand_still(bars: Bars) -> None:
    progress = under_way()
    shown, left = [], []
    for offset in (2_000_000, 0, 0):
        progress(TransferStarted("a", "A", 2, offset, 5_000_000))
        bars.draw(progress, 1e6)
        total = re.search(r"([\d.]+ MB) of 10.0 MB  1.00 MB/s  ([\d.]+) s left", written(bars))
        assert total
        shown.append(total[1])
        left.append(float(total[2]))
    assert shown == ["4.00 MB"] * 3
    assert left == [6.0, 8.0, 8.0]


def test_a_product_that_failed_takes_no_bytes_back(bars: Bars) -> None:
    progress = under_way()
    progress(TransferAdvanced("a", 3_000_000))
    bars.draw(progress, 1e6)
    progress(ProductFinished("a", "A", Status.FAILED, None, 0, 3, "no"))
    bars.draw(progress, 1e6)
    assert re.findall(r"[\d.]+ MB of [\d.]+ MB", written(bars)) == [
        "7.00 MB of 10.0 MB",
        "7.00 MB of 7.00 MB",
    ]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (120, "1000/20000 products, 12 offline  2.00 MB of ~500 GB  12.0 MB/s  11 h 34 min left"),
        (90, "1000/20000 products  2.00 MB of ~500 GB  12.0 MB/s  11 h 34 min left"),
        (79, "2.00 MB of ~500 GB  12.0 MB/s  11 h 34 min left"),
        (39, "2.00 MB/~500 GB 12.0 MB/s"),
    ],
)
def test_as_many_figures_as_there_is_room_for(width: int, text: str) -> None:
    progress = Progress(have=2_000_000, listed_bytes=25_000_000_000, listed=1000, finished=1000)
    progress.matching = 20000
    progress.offline = {str(number): Transfer("", 0) for number in range(12)}
    assert total_text(progress, progress.have, 12e6, width) == text
