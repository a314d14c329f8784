"""What happens to a mirror's catalogue in a year of nights, drawn from a seed."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from noa_async.emulator import Catalogue, Fault, FaultKind, FaultPlan, Product, make_product

START = datetime(2025, 1, 1, 2, tzinfo=UTC)
"""When the first night's run begins."""
DAY = timedelta(days=1)
_FAR = 6.0
"""Days: what is listed so late that only a listing of everything finds it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happens to the catalogue before a night's run; it can be pickled."""

    add: Product | None = None
    remove: str | None = None
    product: str | None = None
    replaced: bool = False
    """Other bytes; else another entry of the same."""
    fields: dict[str, object] = field(default_factory=dict)

    def apply(self, catalogue: Catalogue) -> None:
        """Let it happen."""
        if self.add is not None:
            catalogue.add(self.add)
        if self.remove is not None:
            catalogue.remove(self.remove)
        if self.product is not None:
            change = catalogue.replace if self.replaced else catalogue.update
            change(self.product, **self.fields)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Night:
    """One night: what changed since the last, what goes wrong, and how the run is made."""

    number: int
    now: datetime
    changes: tuple[Change, ...]
    faults: FaultPlan
    outage: float | None
    """When the service goes away, as a share of a usual run; 0 is from the beginning."""
    crash: float | None
    """When the run is killed, as a share of a usual run."""
    on_removed: str
    reconcile: bool = False
    mishap: str | None = None
    """What befalls the archive, the machine or the service, one of `MISHAPS`."""
    seed: int = 0
    """Whom it befalls."""


MISHAPS = (
    "empty listing", "short listing", "lost ledger", "ledger and copies lost", "torn ledger",
    "disk not mounted", "clock ahead", "clock behind", "files removed", "files damaged",
    "files moved", "failing hooks",
)  # fmt: skip


class Year:
    """The nights, one after the other; the same seed gives the same ones.

    ``catalogue`` is the truth at any time: what ``night`` returns has happened to it already.
    """

    def __init__(
        self, seed: int, products: float, crash_every: int = 10, mishap_every: int = 0
    ) -> None:
        """``products``: how many are published between two nights, about. ``mishap_every``: one
        night of so many has a mishap; 0 is none.
        """
        self.catalogue = Catalogue(seed=seed)
        self.figures = dict.fromkeys(
            ("published", "late", "removed", "returned", "replaced", "off_line", "outages"), 0
        )
        self._draw = random.Random(seed)
        self._seed = seed
        self._products = products
        self._crash_every = crash_every
        self._mishap_every = mishap_every
        self._luck = random.Random(f"{seed} mishaps")
        self._asleep: dict[str, int] = {}
        self._away: dict[int, list[Product]] = {}
        self._named = 0

    def night(self, number: int) -> Night:
        """The next night, from 1 on."""
        now = START + number * DAY
        crash = number % self._crash_every == 0
        changes: list[Change] = []

        def let(change: Change) -> None:
            change.apply(self.catalogue)
            changes.append(change)

        for product in self._published(now, busy=crash):
            let(Change(add=product))
            if not product.online:
                self._asleep[product.id] = number + self._draw.randint(1, 5)
        for change in self._altered(number, now):
            let(change)
        night = Night(
            number, now, tuple(changes), self._faults(number), self._outage(),
            self._draw.random() if crash else None, self._on_removed(number),
        )  # fmt: skip
        return self._with_mishap(night)

    def _with_mishap(self, night: Night) -> Night:
        """The night with a mishap, if it has one; then the service does not go away, too."""
        if not self._mishap_every or night.number % self._mishap_every:
            return night
        mishap, seed = self._luck.choice(MISHAPS), self._luck.getrandbits(32)
        self.figures[mishap] = self.figures.get(mishap, 0) + 1
        if mishap.endswith("listing"):
            share = 0.0 if mishap.startswith("empty") else self._luck.uniform(0.1, 0.6)
            faults = FaultPlan(
                (
                    Fault(FaultKind.PAGE_SHRUNK, times=None, at=share),
                    Fault(FaultKind.PAGE_ENTRY_MISSING, times=None),
                )
            )
            night = replace(night, faults=faults, crash=None, reconcile=True)
        elif mishap.startswith("clock"):
            years = self._luck.choice((1, 9)) * (1 if mishap == "clock ahead" else -1)
            night = replace(night, now=night.now + years * 365 * DAY)
        return replace(night, mishap=mishap, seed=seed, outage=None)

    def last(self, number: int) -> Night:
        """A night in which all is well and everything is on line."""
        changes = [
            Change(product=one.id, fields={"online": True})
            for one in self.catalogue.products
            if not one.online
        ]
        for change in changes:
            change.apply(self.catalogue)
        now = START + number * DAY
        return Night(number, now, tuple(changes), FaultPlan(), None, None, "delete", reconcile=True)

    def _published(self, now: datetime, *, busy: bool) -> list[Product]:
        """New products; the index shows some of them days after their publication date."""
        number = round(self._draw.uniform(0.3, 1.7) * self._products * (2 if busy else 1))
        return [self._product(now) for _ in range(number)]

    def _product(self, now: datetime) -> Product:
        draw = self._draw
        self.figures["published"] += 1
        lag = draw.choices((1.0, 2.5, _FAR), weights=(80, 18, 2))[0]
        self.figures["late"] += lag == _FAR
        days = draw.uniform(3.5, _FAR) if lag == _FAR else draw.uniform(0, lag)
        published = now - days * DAY - timedelta(minutes=1)
        online = draw.random() > 0.04
        self.figures["off_line"] += not online
        if draw.random() > 0.02 or not self._named:
            self._named += 1  # else two Ids have one Name
        size = draw.randint(1 << 20, 2 << 20) if draw.random() < 0.04 else draw.randint(5000, 60000)
        sensed = published - draw.uniform(0.1, 2) * DAY
        name = f"S2A_MSIL2A_{self._named:06}_N0511_R093_T34SGH.SAFE.zip"
        return make_product(
            name,
            size,
            id=str(uuid.UUID(int=draw.getrandbits(128))),
            start=sensed,
            published=published,
            online=online,
        )

    def _altered(self, number: int, now: datetime) -> list[Change]:
        draw, changes = self._draw, []
        due = [key for key, night in self._asleep.items() if night <= number]
        for key in due:
            del self._asleep[key]
            changes.append(Change(product=key, fields={"online": True}))
        for product in self._away.pop(number, ()):
            self.figures["returned"] += 1
            back = replace(product, revision=product.revision + 1)
            changes.append(Change(add=back))
        there = [one for one in self.catalogue.products if one.id not in self._asleep]
        touched = draw.sample(there, k=min(3, len(there)))
        if touched and draw.random() < 0.6:
            gone = touched.pop()
            self.figures["removed"] += 1
            changes.append(Change(remove=gone.id))
            if draw.random() < 0.2:
                self._away.setdefault(number + draw.randint(1, 20), []).append(gone)
        if touched and draw.random() < 0.5:
            self.figures["replaced"] += 1
            again = {"published": now - timedelta(hours=1)} if draw.random() < 0.5 else {}
            key = touched.pop().id
            changes.append(Change(product=key, replaced=True, fields={"modified": now, **again}))
        return changes

    def _faults(self, number: int) -> FaultPlan:
        draw = self._draw
        faults = [
            Fault(FaultKind.CUT, probability=0.03, at=draw.random()),
            Fault(FaultKind.RESET, probability=0.02, at=draw.random()),
            Fault(FaultKind.INJECTED_ERROR, probability=0.01, at=draw.random()),
            Fault(FaultKind.SERVER_ERROR, probability=0.03),
            Fault(FaultKind.FORBIDDEN, probability=0.01, times=None),
            Fault(FaultKind.PAGE_ERROR, probability=0.03),
            Fault(FaultKind.PAGE_CUT, probability=0.03, at=draw.random()),
            Fault(FaultKind.PAGE_HTML, probability=0.02),
        ]
        if draw.random() < 0.03:  # the listing breaks off
            page = draw.randint(0, 2)
            faults.append(Fault(FaultKind.PAGE_ERROR, page=page, times=None, status=500))
        return FaultPlan(tuple(faults), seed=self._seed * 1000 + number)

    def _outage(self) -> float | None:
        when = self._draw.random()
        self.figures["outages"] += when < 0.08
        if when < 0.04:
            return 0.0
        return self._draw.random() if when < 0.08 else None

    @staticmethod
    def _on_removed(number: int) -> str:
        """Some weeks keep what is gone; those after them delete it."""
        return "keep" if number // 7 % 6 == 3 else "delete"
