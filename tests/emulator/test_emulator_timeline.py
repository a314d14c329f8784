"""Filters that bound a time look at few products, and find what looking at all would find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from noa_async.emulator import Catalogue, Product, make_product
from noa_async.emulator.filters import PROPERTIES, compile_filter

from .conftest import OpenSite

START = datetime(2026, 1, 12, tzinfo=UTC)
MOMENTS = st.integers(0, 12).map(lambda half: START + timedelta(microseconds=500 * half))
NAMES = st.sampled_from(["ContentDate/Start", "PublicationDate", "ContentDate/End"])
MIRRORED = {"ge": "le", "gt": "lt", "le": "ge", "lt": "gt", "eq": "eq"}


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name, sign, moment = draw(NAMES), draw(st.sampled_from(list(MIRRORED))), draw(MOMENTS)
    text = moment.isoformat(timespec=draw(st.sampled_from(["milliseconds", "microseconds"])))
    text = text.replace("+00:00", "Z")
    return draw(st.sampled_from([f"{name} {sign} {text}", f"{text} {MIRRORED[sign]} {name}"]))


FILTERS = st.recursive(
    comparisons() | st.sampled_from(["Online eq true", "ContentLength gt 500"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "and", "or"]), inner).map(
            lambda three: f"({three[0]}) {three[1]} ({three[2]})"
        )
        | inner.map(lambda one: f"not ({one})")
    ),
    max_leaves=6,
)


@st.composite
def catalogues(draw: st.DrawFn) -> list[Product]:
    times = draw(st.lists(st.tuples(MOMENTS, MOMENTS, st.booleans()), max_size=12))
    return [
        make_product(f"P{place}.nc", 400 + place, start=start, published=published, online=online)
        for place, (start, published, online) in enumerate(times)
    ]


def plainly(products: list[Product], text: str, order: list[tuple[str, bool]]) -> list[Product]:
    matches = compile_filter(text)
    found = sorted((one for one in products if matches(one)), key=lambda one: one.id)
    for name, descending in reversed(order):
        found.sort(key=PROPERTIES[name][1], reverse=descending)
    return found


@given(catalogues(), FILTERS, st.lists(st.tuples(NAMES, st.booleans()), max_size=2))
def test_the_short_way_finds_what_the_long_way_finds(products, text, order) -> None:
    catalogue = Catalogue(products)
    placed = catalogue.products
    assert list(catalogue.select(text, order)) == plainly(placed, text, order)
    if placed:
        catalogue.remove(placed[0].id)
        assert list(catalogue.select(text, order)) == plainly(placed[1:], text, order)


def test_only_products_within_the_bounds_are_looked_at(monkeypatch) -> None:
    many = [make_product(f"P{at}.nc", start=START + timedelta(hours=at)) for at in range(100)]
    catalogue = Catalogue(many)
    looked = []
    monkeypatch.setitem(PROPERTIES, "Online", (bool, lambda one: looked.append(one) or True))
    text = "ContentDate/Start ge 2026-01-12T10:00:00.000Z and Online eq true and "
    text += "ContentDate/Start lt 2026-01-12T12:00:00.000Z"
    assert {one.start.hour for one in catalogue.select(text, ())} == {10, 11}
    assert len(looked) == 2


async def test_links_carry_the_count_on_and_lists_go_down_too(open_site: OpenSite) -> None:
    site = await open_site(products=30, mean_bytes=1000)
    _, up = await site.page(orderby="ContentDate/Start asc", top=10, count="true")
    assert "%24count=true" in up["@odata.nextLink"]
    assert up["@odata.count"] == 30
    _, down = await site.page(orderby="ContentDate/Start desc", top=30)
    starts = [one["ContentDate"]["Start"] for one in down["value"]]
    assert starts == sorted(starts, reverse=True)
    assert site.emulator.stats.lists_peak == 1


async def test_a_site_may_not_count(open_site: OpenSite) -> None:
    site = await open_site(products=30, mean_bytes=1000, counts=False)
    _, page = await site.page(orderby="Name", top=10, count="true")
    assert "@odata.count" not in page


async def test_a_site_may_refuse_what_its_own_link_asks_for(open_site: OpenSite) -> None:
    site = await open_site(products=30, mean_bytes=1000, max_skip=9, refused_links=True)
    _, page = await site.page(orderby="Name", top=10)
    status, _ = await site.page(URL(page["@odata.nextLink"], encoded=True))
    assert status == 400
