"""The truth table of ``resume.decide``, row by row, and what holds for any part and any head."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noa_async.errors import (
    ProductGone,
    ProductOffline,
    ProductUnavailable,
    QuotaExceeded,
    TransferInterrupted,
)
from noa_async.transfer import resume
from noa_async.transfer.resume import (
    Append,
    Complete,
    Decision,
    Discard,
    Head,
    Inspect,
    PartState,
    Refuse,
    Restart,
    Validator,
    decide,
    range_headers,
    refusal,
)

A, B = '"a"', '"b"'
MONDAY, TUESDAY = "Mon, 12 Jan 2026 12:00:00 GMT", "Tue, 13 Jan 2026 12:00:00 GMT"
EMPTY = PartState()
PART = PartState(400, Validator(A, MONDAY), 1000)
OLD = PartState(400, Validator(), None)  # nothing is known but its length


def head(status: int, **fields: str) -> Head:
    """A head from header fields, ``Content_Range`` for ``Content-Range``."""
    return Head.read(status, {key.replace("_", "-"): value for key, value in fields.items()})


# One list of cases for each row of the docstring's table, in its order.
ROWS: list[tuple[str, list[tuple[PartState, Head, object]]]] = [
    (
        "200 a Content-Encoding",
        [
            (EMPTY, head(200, Content_Encoding="gzip"), TransferInterrupted),
            (PART, head(200, Content_Encoding="br", Content_Length="9"), TransferInterrupted),
            (
                EMPTY,
                head(200, Content_Encoding="gzip", Content_Type="text/html"),
                TransferInterrupted,
            ),
        ],
    ),
    (
        "200 HTML, XML, JSON or plain text",
        [
            (EMPTY, head(200, Content_Type="text/html; charset=utf-8"), Inspect()),
            (EMPTY, head(200, Content_Type="Text/Plain"), Inspect()),
            (PART, head(200, Content_Type="application/json"), Inspect()),
            (EMPTY, head(200, Content_Type="application/xml"), Inspect()),
            (EMPTY, head(200, Content_Type="application/problem+json"), Inspect()),
            (
                PART,
                head(200, Content_Type="text/xml", Content_Range="bytes 400-999/1000"),
                Inspect(),
            ),
        ],
    ),
    (
        "200 a Content-Range that is the range asked for",
        [
            (
                PART,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="600", ETag=A),
                Append(1000),
            ),
            (
                OLD,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="600"),
                Append(1000),
            ),
        ],
    ),
    (
        "200 any other Content-Range with no Content-Length",
        [
            (PART, head(200, Content_Range="bytes 400-999/1000"), Discard),
            (PART, head(200, Content_Range="bytes 0-999/1000"), Discard),
            (EMPTY, head(200, Content_Range="nonsense"), Discard),
        ],
    ),
    (
        "200 else",
        [
            (EMPTY, head(200, Content_Length="1000"), Restart(1000)),
            (EMPTY, head(200), Restart(None)),
            (PART, head(200, Content_Length="1000", ETag=A), Restart(1000)),
            (PART, head(200, Content_Length="900", ETag=B), Restart(900)),
            (
                PART,
                head(200, Content_Range="bytes 0-999/1000", Content_Length="1000"),
                Restart(1000),
            ),
            (
                PART,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="1000"),
                Restart(1000),
            ),
            (
                PART,
                head(200, Content_Range="bytes 500-999/1000", Content_Length="500"),
                Restart(500),
            ),
            (
                PART,
                head(200, Content_Range="bytes 400-999/1000", Content_Length="600", ETag=B),
                Restart(600),
            ),
            (
                PART,
                head(200, Content_Range="bytes 400-899/900", Content_Length="500", ETag=A),
                Restart(500),
            ),
            (PART, head(200, Content_Range="bytes 400-999/*", Content_Length="600"), Restart(600)),
            (
                EMPTY,
                head(200, Content_Range="bytes 0-999/1000", Content_Length="1000"),
                Restart(1000),
            ),
            (EMPTY, head(200, Content_Encoding="identity", Content_Length="5"), Restart(5)),
        ],
    ),
    (
        "206 no readable Content-Range, a Content-Encoding",
        [
            (PART, head(206), Discard),
            (PART, head(206, Content_Range="bytes */1000"), Discard),
            (PART, head(206, Content_Range="bytes 999-400/1000"), Discard),
            (PART, head(206, Content_Range="bytes 400-1000/1000"), Discard),
            (PART, head(206, Content_Range="items 400-999/1000"), Discard),
            (PART, head(206, Content_Range="bytes 400-999/1000", Content_Encoding="gzip"), Discard),
            (EMPTY, head(206, Content_Range="bytes 0-999/1000", Content_Encoding="gzip"), Discard),
        ],
    ),
    (
        "206 starts at byte 0",
        [
            (PART, head(206, Content_Range="bytes 0-999/1000", ETag=B), Restart(1000)),
            (PART, head(206, Content_Range="bytes 0-899/900"), Restart(900)),
            (EMPTY, head(206, Content_Range="bytes 0-999/1000"), Restart(1000)),
            (EMPTY, head(206, Content_Range="BYTES 0-99/*"), Restart(None)),
        ],
    ),
    (
        "206 starts elsewhere",
        [
            (PART, head(206, Content_Range="bytes 399-999/1000", ETag=A), Discard),
            (PART, head(206, Content_Range="bytes 401-999/1000", ETag=A), Discard),
            (EMPTY, head(206, Content_Range="bytes 5-999/1000"), Discard),
        ],
    ),
    (
        "206 another ETag, Last-Modified or total",
        [
            (PART, head(206, Content_Range="bytes 400-999/1000", ETag=B), Discard),
            (PART, head(206, Content_Range="bytes 400-999/1000", Last_Modified=TUESDAY), Discard),
            (PART, head(206, Content_Range="bytes 400-1000/1001", ETag=A), Discard),
            (PART, head(206, Content_Range="bytes 400-998/999"), Discard),
            (PART, head(206, Content_Range="bytes 400-999/1000", ETag="b"), Discard),
        ],
    ),
    (
        "206 starts where the part ends",
        [
            (PART, head(206, Content_Range="bytes 400-999/1000", ETag=A), Append(1000)),
            (PART, head(206, Content_Range="bytes 400-999/1000", ETag="a"), Append(1000)),
            (PART, head(206, Content_Range="bytes 400-999/1000", ETag='W/"a"'), Append(1000)),
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", Last_Modified=MONDAY),
                Append(1000),
            ),
            (PART, head(206, Content_Range="bytes 400-999/1000"), Append(1000)),
            (PART, head(206, Content_Range="bytes 400-499/1000", ETag=A), Append(1000)),
            (PART, head(206, Content_Range="bytes 400-999/*", ETag=A), Append(None)),
            (OLD, head(206, Content_Range="bytes 400-999/1000", ETag=B), Append(1000)),
            # The ETag is the same: a clock set anew on another server changes nothing.
            (
                PART,
                head(206, Content_Range="bytes 400-999/1000", ETag=A, Last_Modified=TUESDAY),
                Append(1000),
            ),
        ],
    ),
    (
        "416 the total is the part's length",
        [
            (
                PartState(1000, Validator(A), 1000),
                head(416, Content_Range="bytes */1000"),
                Complete(),
            ),
            (PartState(1000), head(416, Content_Range="bytes */1000", ETag=B), Complete()),
            (
                PartState(1000, Validator(A)),
                head(416, Content_Range="bytes */1000", ETag=A),
                Complete(),
            ),
        ],
    ),
    (
        "416 else",
        [
            (PART, head(416, Content_Range="bytes */1000"), Discard),
            (PART, head(416), Discard),
            (EMPTY, head(416, Content_Range="bytes */0"), Discard),
            (
                PartState(1000, Validator(A), 1000),
                head(416, Content_Range="bytes */1000", ETag=B),
                Discard,
            ),
            (PartState(1000), head(416, Content_Range="bytes */900"), Discard),
        ],
    ),
    (
        "202",
        [
            (EMPTY, head(202), ProductOffline),
            (PART, head(202, Content_Type="application/json"), ProductOffline),
        ],
    ),
    ("403", [(EMPTY, head(403), Inspect()), (PART, head(403, Content_Length="0"), Inspect())]),
    ("401", [(EMPTY, head(401), ProductUnavailable), (PART, head(401), ProductUnavailable)]),
    ("404", [(EMPTY, head(404), ProductGone), (PART, head(404), ProductGone)]),
    (
        "408 425 429 5xx",
        [
            (EMPTY, head(408), TransferInterrupted),
            (EMPTY, head(425), TransferInterrupted),
            (PART, head(429), QuotaExceeded),
            (EMPTY, head(500), TransferInterrupted),
            (PART, head(502), TransferInterrupted),
            (EMPTY, head(503), TransferInterrupted),
            (EMPTY, head(504), TransferInterrupted),
            (EMPTY, head(599), TransferInterrupted),
        ],
    ),
    (
        "else",
        [
            (EMPTY, head(status), ProductGone if status == 410 else ProductUnavailable)
            for status in (
                201,
                203,
                204,
                205,
                226,
                300,
                304,
                307,
                400,
                405,
                406,
                410,
                412,
                451,
            )
        ],
    ),
]
CASES = [
    pytest.param(part, answer, expected, id=f"{title} {number}")
    for title, cases in ROWS
    for number, (part, answer, expected) in enumerate(cases)
]


def rows_drawn() -> list[str]:
    """The first lines of the docstring's rows; those that go on begin with no status."""
    assert resume.__doc__ is not None
    table = resume.__doc__.split("    ------  ")[1].splitlines()[1:]
    return [line.strip() for line in table if re.match(r"    (?:\d{3}|else)", line)]


@pytest.mark.parametrize(("part", "answer", "expected"), CASES)
def test_a_row(part, answer, expected):
    decision = decide(part, answer)
    if isinstance(decision, Refuse):
        assert type(decision.error) is expected
    elif isinstance(decision, Discard):
        assert expected is Discard
        assert decision.reason
    else:
        assert decision == expected


def test_every_row_drawn_is_tried():
    drawn = rows_drawn()
    assert len(drawn) == len(ROWS) == 18
    for line, (title, cases) in zip(drawn, ROWS, strict=True):
        assert line.split()[0] == title.split()[0]
        assert cases


def test_what_is_to_be_tried_again_is_retryable():
    for title, cases in ROWS:
        for part, answer, _ in cases:
            decision = decide(part, answer)
            if isinstance(decision, Refuse):
                final = title in {"else", "401", "404"}
                assert decision.error.retryable is not final, title


@pytest.mark.parametrize(("status", "tries"), [(401, 3), (404, 1), (410, 0), (400, 0), (405, 0)])
def test_some_refusals_deserve_more_tries(status, tries):
    decision = decide(EMPTY, head(status))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, ProductUnavailable)
    assert decision.error.more_tries == tries


@pytest.mark.parametrize("kind", ["text/html", "application/json", "application/atom+xml"])
def test_text_that_is_due_is_the_product(kind):
    answer = head(200, Content_Type=kind, Content_Length="7")
    assert decide(EMPTY, answer, text_is_due=True) == Restart(7)
    assert decide(EMPTY, answer) == Inspect()


@pytest.mark.parametrize(
    "kind", ["application/zip", "application/x-netcdf", "", "binary/octet-stream"]
)
def test_other_kinds_are_the_product(kind):
    assert decide(EMPTY, head(200, Content_Type=kind)) == Restart(None)


@pytest.mark.parametrize(
    ("status", "wait"), [(202, 7.0), (408, 7.0), (425, 7.0), (429, 7.0), (500, 7.0), (503, 7.0)]
)
def test_a_wait_that_is_asked_for_is_passed_on(status, wait):
    decision = decide(EMPTY, head(status, Retry_After="7"))
    assert isinstance(decision, Refuse)
    assert decision.error.retry_after == wait


@pytest.mark.parametrize("status", [202, 429, 503])
def test_where_no_wait_is_asked_for_none_is_made_up(status):
    decision = decide(EMPTY, head(status))
    assert isinstance(decision, Refuse)
    assert decision.error.retry_after is None


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


@pytest.mark.parametrize(
    ("value", "start", "total"),
    [
        ("bytes 0-99/100", 0, 100),
        ("bytes 5-9/*", 5, None),
        ("bytes */100", None, 100),
        (" Bytes  5-9/100 ", 5, 100),
        ("bytes 9-5/100", None, None),
        ("bytes 5-100/100", None, None),
        ("bytes 0-4/0", None, None),
        ("bytes 5-9", None, None),
        ("5-9/100", None, None),
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


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"Maximum number of 4 concurrent flows achieved by the user 'ada'", QuotaExceeded),
        (b"<html><body>Max session number 4 exceeded.</body></html>", QuotaExceeded),
        (b"Your download <b>quota</b> is used up", QuotaExceeded),
        (b"Too many requests", QuotaExceeded),
        (b"You have 4 concurrent downloads already", QuotaExceeded),
        (b"Rate limit exceeded", QuotaExceeded),
        (b"limit has been reached", QuotaExceeded),
    ],
)
@pytest.mark.parametrize("status", [200, 403])
def test_a_word_of_a_quota_is_heard(body, kind, status):
    refused = refusal(head(status, Retry_After="7"), body)
    assert type(refused.error) is kind
    assert refused.error.retry_after == 7.0


@pytest.mark.parametrize(
    "body", [b"", b"Access denied", b"<html><h1>Forbidden</h1></html>", b"\xff\x00"]
)
def test_a_403_with_no_such_word_is_final(body):
    error = refusal(head(403), body).error
    assert type(error) is ProductUnavailable
    assert error.more_tries == 0


@pytest.mark.parametrize("body", [b"", b"<html>Maintenance</html>", b"\xff\xfe", b"{}"])
def test_a_page_with_status_200_may_be_the_product_next_time(body):
    error = refusal(head(200, Content_Type="text/html"), body).error
    assert type(error) is TransferInterrupted
    assert error.message.strip()


def test_what_is_shown_of_a_page_is_short_and_plain():
    body = b"<html>" + b"evil \x1b[31m \r\n\x00 " * 500
    for status in (200, 403):
        shown = str(refusal(head(status), body).error)
        assert len(shown) < 300
        assert shown.isprintable()


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
    total=SIZES,
    retry_after=st.none() | st.floats(0, 100),
)


def bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


@given(PARTS, HEADS, st.booleans())
@example(PART, head(206, Content_Range="bytes 400-999/1000", ETag=A), False)
def test_bytes_are_only_appended_where_they_belong(part, answer, text_is_due):
    decision: Decision = decide(part, answer, text_is_due=text_is_due)
    if not isinstance(decision, Append):
        return
    assert answer.status in {200, 206}
    assert answer.start == part.length > 0
    assert not answer.encoded
    ours, theirs = part.validator, answer.validator
    if ours.etag and theirs.etag:
        assert bare(ours.etag) == bare(theirs.etag)
    elif ours.last_modified and theirs.last_modified:
        assert ours.last_modified == theirs.last_modified
    if part.total is not None and answer.total is not None:
        assert part.total == answer.total
    if answer.status == 200:
        assert answer.total is not None
        assert answer.content_length == answer.total - part.length


@given(PARTS, HEADS, st.booleans())
def test_the_part_goes_only_where_bytes_come_or_it_is_of_no_use(part, answer, text_is_due):
    decision = decide(part, answer, text_is_due=text_is_due)
    if isinstance(decision, Restart):
        assert answer.status in {200, 206}
        assert not answer.encoded
        assert answer.status == 200 or answer.start == 0
    if isinstance(decision, Discard):
        assert answer.status in {200, 206, 416}
    if isinstance(decision, Complete):
        assert answer.status == 416
        assert answer.total == part.length > 0
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
    | st.sampled_from(["12", "gzip", "text/html", A, "W/", '"', "bytes */0"]),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(PARTS, st.integers(100, 599), FIELDS, st.binary(max_size=60))
def test_no_answer_raises(part, status, fields, body):
    answer = Head.read(status, fields)
    decision = decide(part, answer)
    if isinstance(decision, Inspect):
        decision = refusal(answer, body)
        assert str(decision.error)
    assert range_headers(part)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_503_beside_products_that_come_is_a_quota(status: int) -> None:
    answer = replace(head(status), retry_after=7.0)
    for served, kind in (
        (True, QuotaExceeded if status == 503 else TransferInterrupted),
        (False, TransferInterrupted),
    ):
        decision = decide(PART, answer, others_served=served)
        assert isinstance(decision, Refuse)
        assert type(decision.error) is kind
        assert decision.error.retry_after == 7.0
