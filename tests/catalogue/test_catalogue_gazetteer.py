"""Places by name: all can be found, however they are written, and all can be searched by."""

from __future__ import annotations

import unicodedata
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.gazetteer import find_place, places
from noa_async.catalogue.geometry import Area
from noa_async.errors import QueryError

REGIONS = {
    "Ανατολική Μακεδονία και Θράκη": (24.4, 40.94),  # Kavala
    "Κεντρική Μακεδονία": (22.94, 40.64),  # Thessaloniki
    "Δυτική Μακεδονία": (21.79, 40.3),  # Kozani
    "Ήπειρος": (20.85, 39.66),  # Ioannina
    "Θεσσαλία": (22.42, 39.64),  # Larisa
    "Ιόνια Νησιά": (19.92, 39.62),  # Corfu
    "Δυτική Ελλάδα": (21.73, 38.25),  # Patras
    "Στερεά Ελλάδα": (22.43, 38.9),  # Lamia
    "Αττική": (23.73, 37.98),  # Athens
    "Πελοπόννησος": (22.38, 37.51),  # Tripoli
    "Βόρειο Αιγαίο": (26.56, 39.11),  # Mytilene
    "Νότιο Αιγαίο": (24.94, 37.44),  # Ermoupoli
    "Κρήτη": (25.14, 35.34),  # Heraklion
}
CITIES = {
    "Cyprus": (33.36, 35.17),
    "United States of America": (-77.0, 38.9),
    "Russia": (37.6, 55.8),
    "Fiji": (178.4, -18.1),
    "New Zealand": (174.8, -41.3),
    "Kiribati": (173.0, 1.45),
    "France": (2.35, 48.86),
    "Egypt": (31.2, 30.0),
}


def holds(place: object, lon: float, lat: float) -> bool:
    return any(
        south <= lat <= north and (west <= lon <= east or (west > east and not east < lon < west))
        for west, south, east, north in place.boxes  # type: ignore[attr-defined]
    )


def test_the_thirteen_regions_are_there_and_lie_where_they_are() -> None:
    assert [place.names[1] for place in places()[:13]] == list(REGIONS)
    for name, (lon, lat) in REGIONS.items():
        assert holds(find_place(name), lon, lat), name
    assert holds(find_place("South Aegean"), 29.59, 36.15)  # Kastellorizo
    assert holds(find_place("Crete"), 24.08, 34.83)  # Gavdos


def test_the_countries_lie_where_they_are() -> None:
    assert len(places()) > 230
    for name, (lon, lat) in CITIES.items():
        assert holds(find_place(name), lon, lat), name
    for region in places()[:13]:
        for west, south, east, north in region.boxes:
            assert holds(find_place("Greece"), (west + east) / 2, (south + north) / 2)


@pytest.mark.parametrize("place", places(), ids=lambda place: place.names[0])
def test_every_box_can_be_searched_by(place) -> None:
    area = Area(tuple(part for box in place.boxes for part in Area.read(box).parts))
    assert Area.read(list(area.parts)) == area  # as a query file holds it, and short enough
    assert all(0 < (east - west) % 360 <= 180 for west, _, east, _ in place.boxes)


@pytest.mark.parametrize("country", ["Fiji", "Russia", "United States of America"])
def test_a_country_over_the_antimeridian_is_no_belt_around_the_world(country: str) -> None:
    crossing = [box for box in find_place(country).boxes if box[0] > box[2]]
    assert len(crossing) == 1
    assert sum((east - west) % 360 for west, _, east, _ in find_place(country).boxes) < 200


@given(st.sampled_from(places()), st.data())
def test_letter_case_and_accents_do_not_matter(place, data) -> None:
    name = data.draw(st.sampled_from(place.names))
    forms = [name.upper(), name.lower(), name.swapcase(), f"  {name} ", name.replace(" ", "-")]
    forms.append("".join(
        sign for sign in unicodedata.normalize("NFD", name) if not unicodedata.combining(sign)
    ))  # fmt: skip
    assert find_place(data.draw(st.sampled_from(forms))) == find_place(name)
    assert find_place(place.names[0]) == place


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Grece", "Did you mean Greece?"),
        ("Peloponese", "Did you mean Peloponnese?"),
        ("Κριτη", "Did you mean Crete"),
        ("Macedonia", "Central Macedonia"),  # of several none is taken
        ("Atlantis", "It contains the 13 regions of Greece"),
        ("", "It contains the 13 regions of Greece"),
    ],
)
def test_a_name_that_is_none_is_told_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        find_place(name)
    assert hint in caught.value.hint


def test_the_file_is_small_and_says_where_it_is_from() -> None:
    text = resources.files("noa_async.catalogue").joinpath("gazetteer.json").read_text("utf-8")
    assert len(text.encode()) < 40_000
    assert "Natural Earth" in text
    assert "public domain" in text
