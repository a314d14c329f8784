"""The truth table of ``resume.decide``, row by row, and what holds for any part and any head."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noa_async.transfer import resume
from noa_async.transfer.resume import (
    Append,
    Complete,
    Contradict,
    Decision,
    Discard,
    Due,
    Head,
    Inspect,
    PartState,
    Refuse,
    Restart,
    Validator,
    decide,
    range_headers,
)

A, B = '"a"', '"b"'
MONDAY, TUESDAY = "Mon, 12 Jan 2026 12:00:00 GMT", "Tue, 13 Jan 2026 12:00:00 GMT"
EMPTY = PartState()
PART = PartState(400, Validator(A, MONDAY), 1000)
OLD = PartState(400, Validator(), None)  # nothing is known but its length
REST = Append(1000, 1000)
SHORT = PartState(400, Validator(A), 900)
DONE = PartState(1000, Validator(A), 1000)


def head(status: int, **fields: str) -> Head:
    """A head from header fields, ``Content_Range`` for ``Content-Range``."""
    return Head.read(status, {key.replace("_", "-"): value for key, value in fields.items()})


def sized(status: int, **fields: str) -> Head:
    return head(status, **{"Content_Length": "1000"} | fields)


def INTO(total: int) -> Inspect:  # noqa: N802 (stands in a table)
    return Inspect(Restart(total))


SIZED = Due(size=1000)
BARE = Due(size=1000, checked=False)
STRONG, WEAK = PartState(400, Validator(A), 1000), PartState(400, Validator('W/"a"', MONDAY), 1000)

# One list of cases for each row of the docstring's table, in its order.
ROWS: list[tuple[str, list[tuple[PartState, Head, Due, object]]]] = [
    (
        "200 a content coding",
        [
            (EMPTY, head(200, Content_Encoding="gzip"), SIZED, Inspect(Refuse)),
            (PART, head(200, Content_Encoding="br", Content_Length="9"), SIZED, Inspect(Refuse)),
            (EMPTY, head(203, Content_Encoding="aws-chunked, ZSTD"), SIZED, Inspect(Refuse)),
            (EMPTY, head(200, Content_Encoding="x-compress"), Due(), Inspect(Refuse)),
        ],
    ),
    (
        "200 HTML, XML, JSON or text; a length that is neither; no length",
        [
            (EMPTY, sized(200, Content_Type="text/html; charset=utf-8"), SIZED, INTO(1000)),
            (EMPTY, sized(203, Content_Type="Text/Plain"), SIZED, INTO(1000)),
            (PART, sized(200, Content_Type="application/json"), SIZED, INTO(1000)),
            (EMPTY, sized(200, Content_Type="application/problem+json"), SIZED, INTO(1000)),
            (
                PART,
                head(
                    200,
                    Content_Type="text/xml",
                    Content_Range="bytes 400-999/1000",
                    Content_Length="600",
                ),
                SIZED,
                Inspect(REST),
            ),
            (EMPTY, head(200), SIZED, Inspect(Restart(None))),
            (EMPTY, head(200, Content_Length="1001"), SIZED, INTO(1001)),
            (EMPTY, head(200, Content_Length="9"), SIZED, INTO(9)),
            (EMPTY, head(200, Content_Length="9"), Due(), INTO(9)),
            (PART, head(200, ETag=A), SIZED, Inspect(Restart(None))),
        ],
    ),
    (
        "200 the Content-Range that was asked for",
        [
            (
                PART,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="600", ETag=A),
                SIZED,
                REST,
            ),
            (
                PART,
                head(200, Content_Range="bytes=400-499/1000", Content_Length="100", ETag=B),
                SIZED,
                Append(1000, 500),
            ),
            (
                STRONG,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="600", ETag=A),
                BARE,
                REST,
            ),
        ],
    ),
    (
        "200 any other Content-Range with no Content-Length",
        [
            (PART, head(200, Content_Range="bytes 400-999/1000"), SIZED, Inspect(Discard)),
            (PART, head(200, Content_Range="bytes 0-999/1000"), SIZED, Inspect(Discard)),
            (EMPTY, head(200, Content_Range="nonsense"), SIZED, Inspect(Discard)),
        ],
    ),
    (
        "200 from byte 0, a length that is neither, and there is a part",
        [
            (PART, head(200, Content_Length="900", ETag=A), SIZED, Inspect(Refuse)),
            (PART, head(200, Content_Length="10000000000000"), SIZED, Inspect(Refuse)),
            (PART, head(200, Content_Length="12"), BARE, Inspect(Refuse)),
            (
                PART,
                head(200, Content_Range="bytes 500-999/1000", Content_Length="500"),
                SIZED,
                Inspect(Refuse),
            ),
        ],
    ),
    (
        "200 from byte 0, another state, and the request had an If-Range",
        [
            (PART, sized(200, ETag=B), SIZED, Contradict()),
            (PART, sized(200, Last_Modified=TUESDAY), Due(), Contradict()),
        ],
    ),
    (
        "200 all else",
        [
            (EMPTY, sized(200), SIZED, Restart(1000)),
            (EMPTY, sized(200, Content_Encoding="identity"), SIZED, Restart(1000)),
            (EMPTY, sized(200, Content_Encoding="none, aws-chunked"), SIZED, Restart(1000)),
            (EMPTY, sized(200, Content_Encoding="rot13"), SIZED, Restart(1000)),
            (EMPTY, sized(200, Content_Encoding=""), SIZED, Restart(1000)),
            (PART, sized(200, ETag=A), SIZED, Restart(1000)),
            (PART, sized(200, ETag=B), Due(size=1000, conditional=False), Restart(1000)),
            (PART, sized(200, ETag=B), BARE, Restart(1000)),
            (SHORT, sized(200, ETag=B), SIZED, Restart(1000)),
            (
                PartState(400, Validator(A), 900),
                head(200, Content_Length="900"),
                SIZED,
                Restart(900),
            ),
            (PART, sized(200, Content_Range="bytes 0-999/1000"), SIZED, Restart(1000)),
            (
                WEAK,
                sized(200, Content_Range="bytes 400-999/1000", Content_Length="1000"),
                BARE,
                Restart(1000),
            ),
        ],
    ),
    (
        "206 a content coding",
        [
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", Content_Encoding="gzip"),
                SIZED,
                Inspect(Discard),
            ),
            (
                EMPTY,
                head(206, Content_Range="bytes 0-999/1000", Content_Encoding="gzip"),
                SIZED,
                Inspect(Discard),
            ),
        ],
    ),
    (
        "206 no readable Content-Range, but the Content-Length that is missing",
        [
            (PART, head(206, Content_Length="600"), SIZED, Append(1000)),
            (
                OLD,
                head(206, Content_Range="lines 4-9/10", Content_Length="600"),
                SIZED,
                Append(1000),
            ),
        ],
    ),
    (
        "206 no readable Content-Range",
        [
            (PART, head(206), SIZED, Inspect(Discard)),
            (PART, head(206, Content_Length="600"), BARE, Inspect(Discard)),
            (
                PART,
                head(206, Content_Length="600", Content_Type="text/html"),
                SIZED,
                Inspect(Discard),
            ),
            (PART, head(206, Content_Range="bytes */1000"), SIZED, Inspect(Discard)),
            (PART, head(206, Content_Range="bytes 999-400/1000"), SIZED, Inspect(Discard)),
            (PART, head(206, Content_Range="bytes 400-1001/1000"), SIZED, Inspect(Discard)),
            (PART, head(206, Content_Range="items 400-999/1000"), SIZED, Inspect(Discard)),
        ],
    ),
    (
        "206 starts at byte 0",
        [
            (PART, head(206, Content_Range="bytes 0-999/1000", ETag=B), SIZED, Restart(1000)),
            (PART, head(206, Content_Range="bytes 0-899/900"), SIZED, Restart(900)),
            (EMPTY, head(206, Content_Range="bytes 0-999/1000"), SIZED, Restart(1000)),
            (EMPTY, head(206, Content_Range="BYTES 0-99/*"), SIZED, Restart(None)),
        ],
    ),
    (
        "206 starts elsewhere",
        [
            (PART, head(206, Content_Range="bytes 399-999/1000", ETag=A), SIZED, Discard),
            (PART, head(206, Content_Range="bytes 401-999/1000", ETag=A), SIZED, Discard),
            (EMPTY, head(206, Content_Range="bytes 5-999/1000"), SIZED, Discard),
        ],
    ),
    (
        "206 a total that is neither; another state",
        [
            (PART, head(206, Content_Range="bytes 400-1000/1001", ETag=A), SIZED, Discard),
            (PART, head(206, Content_Range="bytes 400-998/999"), SIZED, Discard),
            (STRONG, head(206, Content_Range="bytes 400-999/1000", ETag=B), BARE, Discard),
            (STRONG, head(206, Content_Range="bytes 400-999/1000", ETag='W/"a"'), BARE, Discard),
            (STRONG, head(206, Content_Range="bytes 400-999/1000"), BARE, Discard),
            (WEAK, head(206, Content_Range="bytes 400-999/1000", ETag='W/"a"'), BARE, Discard),
            (OLD, head(206, Content_Range="bytes 400-999/1000", ETag=A), BARE, Discard),
        ],
    ),
    (
        "206 starts where the part ends",
        [
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", ETag=A),
                SIZED,
                REST,
            ),
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", ETag=B),
                SIZED,
                REST,
            ),
            (PART, head(206, Content_Range="bytes 400-999/1000"), SIZED, REST),
            (PART, head(206, Content_Range="bytes 400-499/1000", ETag=A), SIZED, Append(1000, 500)),
            (PART, head(206, Content_Range="bytes 400-999/*", ETag=A), SIZED, Append(None, 1000)),
            (PART, head(206, Content_Range="bytes=400-1000/1000"), SIZED, REST),
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", Last_Modified=TUESDAY),
                SIZED,
                REST,
            ),
            (
                PartState(400, Validator(A), 1001),
                head(206, Content_Range="bytes 400-999/1000"),
                SIZED,
                REST,
            ),
            (
                STRONG,
                head(206, Content_Range="bytes 400-999/1000", ETag=A),
                BARE,
                REST,
            ),
        ],
    ),
    (
        "416 the total is the part's length",
        [
            (DONE, head(416, Content_Range="bytes */1000"), SIZED, Complete()),
            (DONE, head(416, Content_Range="bytes */1000", ETag=B), SIZED, Complete()),
            (DONE, head(416, Content_Range="bytes */1000", ETag=A), BARE, Complete()),
            (DONE, head(416), SIZED, Complete()),
            (DONE, head(416), BARE, Complete()),
        ],
    ),
    (
        "416 all else",
        [
            (PART, head(416, Content_Range="bytes */1000"), SIZED, Inspect(Discard)),
            (PART, head(416), SIZED, Inspect(Discard)),
            (EMPTY, head(416, Content_Range="bytes */0"), SIZED, Inspect(Discard)),
            (DONE, head(416, Content_Range="bytes */1000", ETag=B), BARE, Inspect(Discard)),
            (DONE, head(416, Content_Range="bytes */900"), SIZED, Inspect(Discard)),
        ],
    ),
    (
        "else",
        [
            (part, head(status), SIZED, Inspect())
            for status in (
                201,
                202,
                204,
                304,
                307,
                400,
                401,
                403,
                404,
                408,
                410,
                412,
                429,
                500,
                503,
            )
            for part in (EMPTY, PART)
        ],
    ),
]
CASES = [
    pytest.param(part, answer, due, expected, id=f"{title} {number}")
    for title, cases in ROWS
    for number, (part, answer, due, expected) in enumerate(cases)
]


def rows_drawn() -> list[str]:
    """The first lines of the docstring's rows; those that go on begin with no status."""
    assert resume.__doc__ is not None
    table = resume.__doc__.split("    ------  ")[1].splitlines()[1:]
    return [line.strip() for line in table if re.match(r"    (?:\d{3}|else)", line)]


def kind_of(decision: object) -> object:
    """A decision without the words in it."""
    if isinstance(decision, Inspect):
        inner = decision.then
        return Inspect(inner if isinstance(inner, type) else kind_of(inner))  # type: ignore[arg-type]
    return type(decision) if isinstance(decision, Refuse | Discard) else decision


@pytest.mark.parametrize(("part", "answer", "due", "expected"), CASES)
def test_a_row(part, answer, due, expected):
    assert kind_of(decide(part, answer, due)) == expected


def test_every_row_drawn_is_tried():
    drawn = rows_drawn()
    assert len(drawn) == len(ROWS) == 17
    for line, (title, cases) in zip(drawn, ROWS, strict=True):
        assert line.split()[0] == title.split()[0]
        assert cases


def test_what_is_refused_by_its_head_is_retried():
    for _, cases in ROWS:
        for part, answer, due, _ in cases:
            decision = decide(part, answer, due)
            inner = decision.then if isinstance(decision, Inspect) else decision
            if isinstance(inner, Refuse):
                assert inner.error.retryable


@pytest.mark.parametrize("kind", ["text/html", "application/json", "application/atom+xml"])
def test_text_that_is_due_is_the_product(kind):
    answer = sized(200, Content_Type=kind)
    assert decide(EMPTY, answer, Due(size=1000, is_text=True)) == Restart(1000)
    assert decide(EMPTY, answer, SIZED) == Inspect(Restart(1000))


@pytest.mark.parametrize(
    "kind", ["application/zip", "application/x-netcdf", "", "binary/octet-stream"]
)
def test_other_kinds_are_the_product(kind):
    assert decide(EMPTY, sized(200, Content_Type=kind), SIZED) == Restart(1000)


@pytest.mark.parametrize(
    ("part", "headers"),
    [
        (EMPTY, {"Accept-Encoding": "identity"}),
        (PartState(0, Validator(A), 9), {"Accept-Encoding": "identity"}),
        (OLD, {"Accept-Encoding": "identity", "Range": "bytes=400-"}),
        (PART, {"Accept-Encoding": "identity", "Range": "bytes=400-", "If-Range": A}),
        (
            PartState(7, Validator('W/"a"', MONDAY)),
            {"Accept-Encoding": "identity", "Range": "bytes=7-", "If-Range": MONDAY},
        ),
        (PartState(7, Validator("bare")), {"Accept-Encoding": "identity", "Range": "bytes=7-"}),
    ],
)
def test_what_is_asked_for(part, headers):
    assert range_headers(part) == headers
    without = {key: value for key, value in headers.items() if key != "If-Range"}
    assert range_headers(part, conditional=False) == without


@pytest.mark.parametrize(
    ("value", "start", "total"),
    [
        ("bytes 0-99/100", 0, 100),
        ("bytes 5-9/*", 5, None),
        ("bytes */100", None, 100),
        (" Bytes  5-9/100 ", 5, 100),
        ("bytes=5-9/100", 5, 100),
        ("bytes: 5-9/100", 5, 100),
        ("BYTES 5 - 9 / 100", 5, 100),
        ("5-9/100", 5, 100),
        ("bytes 5-9", 5, None),
        ("bytes 5-100/100", 5, 100),
        ("bytes5-9/100", 5, 100),
        ("bytes 9-5/100", None, None),
        ("bytes 5-101/100", None, None),
        ("lines 5-9/100", None, None),
        ("bytes 5-٩/100", None, None),
        ("bytes 0-4/0", None, None),
        ("bytes -9/100", None, None),
        ("bytes 5-9/-1", None, None),
        (f"bytes 5-9/{'9' * 30}", None, None),
        ("", None, None),
    ],
)
def test_content_ranges(value, start, total):
    read = Head.read(206, {"Content-Range": value})
    assert (read.start, read.total, read.has_range) == (start, total, True)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("5", 5),
        ("", None),
        ("-5", None),
        ("5, 5", None),
        ("٥", None),
        ("9" * 30, None),
        ("5.0", None),
    ],
)
def test_content_lengths(value, length):
    assert Head.read(200, {"Content-Length": value}).content_length == length


def test_an_empty_validator_is_none():
    assert Head.read(200, {"ETag": "", "Last-Modified": ""}).validator == Validator()


SIZES = st.none() | st.integers(0, 12)
VALIDATORS = st.builds(
    Validator,
    st.sampled_from([None, A, B, "a", "b", 'W/"a"', '""', ""]),
    st.sampled_from([None, MONDAY, TUESDAY]),
)
PARTS = st.builds(PartState, st.integers(0, 12), VALIDATORS, SIZES)
STATUSES = st.sampled_from([200, 200, 206, 206, 206, 416]) | st.integers(100, 599)
HEADS = st.builds(
    Head,
    status=STATUSES,
    validator=VALIDATORS,
    content_length=SIZES,
    content_type=st.sampled_from(["", "application/zip", "text/html", "application/json"]),
    encoded=st.booleans(),
    has_range=st.booleans(),
    start=SIZES,
    stop=SIZES,
    total=SIZES,
    retry_after=st.none() | st.floats(0, 100),
)


DUES = st.builds(
    Due,
    size=SIZES,
    is_text=st.booleans(),
    is_html=st.booleans(),
    checked=st.booleans(),
    conditional=st.booleans(),
)


@given(PARTS, HEADS, DUES)
@example(PART, head(206, Content_Range="bytes 400-999/1000", ETag=A), Due(checked=False))
@example(PartState(1), head(206), Due())
def test_bytes_are_only_appended_where_they_belong(part, answer, due):
    decision: Decision = decide(part, answer, due)
    decision = decision.then if isinstance(decision, Inspect) and decision.then else decision
    if not isinstance(decision, Append):
        return
    assert answer.status in {200, 203, 206}
    assert not answer.encoded
    assert part.length > 0
    if not due.checked:
        ours, theirs = part.validator, answer.validator
        assert ours.is_strong
        assert ours.etag == theirs.etag
    if answer.start is None:
        assert due.checked
        assert answer.content_length == (part.total or due.size or 0) - part.length
    else:
        assert answer.start == part.length
    if part.total is not None and answer.total is not None and answer.start is not None:
        assert answer.total in {part.total, due.size}


@given(PARTS, HEADS, DUES)
def test_the_part_goes_only_where_bytes_come_or_it_is_of_no_use(part, answer, due):
    decision = decide(part, answer, due)
    decision = decision.then if isinstance(decision, Inspect) and decision.then else decision
    if isinstance(decision, Restart):
        assert answer.status in {200, 203, 206}
        assert not answer.encoded
        assert answer.status in {200, 203} or answer.start == 0
        if answer.status != 206 and part.length and answer.content_length is not None:
            assert due.size is None or answer.content_length in {due.size, part.total}
    if isinstance(decision, Discard):
        assert answer.status in {200, 203, 206, 416}
    if isinstance(decision, Complete):
        assert answer.status == 416
        assert part.length > 0
        assert (part.total if answer.total is None else answer.total) == part.length
    if isinstance(decision, Contradict):
        assert due.conditional
        assert due.checked
        assert part.validator.contradicts(answer.validator)
    if isinstance(decision, Refuse | Inspect):
        assert answer.status not in {206, 416}


FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "Content-Range",
            "Content-Length",
            "Content-Type",
            "Content-Encoding",
            "ETag",
            "Last-Modified",
            "Retry-After",
        ]
    ),
    st.text(max_size=12)
    | st.from_regex(r"bytes \d{1,3}-\d{1,3}/(\d{1,3}|\*)", fullmatch=True)
    | st.from_regex(r"(BYTES)?[=: ]?\d{1,3} ?- ?\d{1,3}(/\d{1,3})?", fullmatch=True)
    | st.sampled_from(["12", "gzip", "text/html", A, "W/", '"', "bytes */0"]),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(PARTS, st.integers(100, 599), FIELDS, DUES)
def test_no_answer_raises(part, status, fields, due):
    answer = Head.read(status, fields)
    assert decide(part, answer, due) is not None
    assert range_headers(part)
