"""Whether a service takes orders, by its answers: the table."""

from __future__ import annotations

import pytest

from noa_async.answers import classify
from noa_async.catalogue.orders import takes_orders


@pytest.mark.parametrize(
    ("status", "body", "before", "takes"),
    [
        (405, b"", False, False),
        (501, b"", True, False),
        (404, b"", False, False),
        (400, b"", False, False),
        (403, b"Not for you", False, False),
        (404, b"", True, None),  # this product is gone; others can be ordered
        (400, b"", True, None),
        (403, b"Too many orders", False, None),
        (429, b"", False, None),
        (503, b"", False, None),
        (503, b"Down for maintenance", False, None),
        (401, b"", False, None),
        (200, b"<html>Too many requests</html>", False, None),
        (201, b'{"Status": "queued"}', False, None),
    ],
)
def test_what_an_answer_tells_of_orders(status, body, before, takes):
    refusal = classify(status, {}, body, had_token=True)
    assert takes_orders(refusal, taken_before=before) is takes
