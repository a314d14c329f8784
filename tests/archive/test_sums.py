"""What goes with the bytes to a store: when that is asked, and what its answers mean."""

from __future__ import annotations

import io
import urllib.error
from collections.abc import Iterator
from email.message import Message
from itertools import count
from typing import Any

import pytest

from noa_async.archive import sums
from noa_async.archive.sigv4 import Bucket
from noa_async.archive.sums import sum_options

_NUMBERS = count()


@pytest.fixture
def bucket() -> Bucket:
    """One that nobody has asked."""
    return Bucket(f"http://127.0.0.1:9/{next(_NUMBERS)}", "us-east-1", "key", "secret")


class Store:
    """It answers as told, and counts what is asked."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers: Iterator[Exception | None] = iter(answers)
        self.asked: list[str] = []

    def __call__(self, _: Bucket, method: str, *__: Any) -> tuple[str, int]:
        self.asked.append(method)
        if (answer := next(self._answers)) is not None:
            raise answer
        return "", 0


def refusal(status: int, code: str) -> urllib.error.HTTPError:
    text = io.BytesIO(f"<Error><Code>{code}</Code></Error>".encode())
    return urllib.error.HTTPError("http://127.0.0.1:9", status, "No.", Message(), text)


UNSIGNED = {"unsigned_payload": "true"}
BY_SUMS = {"checksum_algorithm": "crc64nvme"} | UNSIGNED
ANSWERS: dict[str, tuple[list[Exception | None], dict[str, str], list[str]]] = {
    "compares": ([refusal(400, "BadDigest")], BY_SUMS, ["PUT"]),
    "compares, by another name": (
        [refusal(400, "XAmzContentChecksumMismatch")],
        BY_SUMS,
        ["PUT"],
    ),
    "compares what is signed": (
        [None, refusal(400, "XAmzContentSHA256Mismatch"), None],
        {},
        ["PUT", "PUT", "DELETE"],
    ),
    "takes all": ([None, None, None], UNSIGNED, ["PUT", "PUT", "DELETE"]),
    "takes all, deletes nothing": (
        [None, None, refusal(403, "AccessDenied")],
        {},
        ["PUT", "PUT", "DELETE"],
    ),
    "knows no sums": ([refusal(501, "NotImplemented")], {}, ["PUT"]),
    "refuses": ([refusal(403, "AccessDenied")], {}, ["PUT"]),
    "is away": ([ConnectionRefusedError()], {}, ["PUT"]),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_bytes_go_unsigned_only_where_that_loses_nothing(
    kind: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, options, asked = ANSWERS[kind]
    store = Store(*answers)
    monkeypatch.setattr(sums, "ask", store)
    assert (sum_options(bucket, "a/sums", {}), store.asked) == (options, asked)


@pytest.mark.parametrize(
    ("first", "asked"),
    [(refusal(400, "BadDigest"), 1), (refusal(503, "SlowDown"), 2), (TimeoutError(), 2)],
)
def test_an_answer_is_kept_and_none_is_not(
    first: Exception, asked: int, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(first, refusal(400, "BadDigest"))
    monkeypatch.setattr(sums, "ask", store)
    sum_options(bucket, "a/sums", {})
    assert sum_options(bucket, "a/sums", {}) == BY_SUMS
    assert len(store.asked) == asked


@pytest.mark.parametrize("name", ["AWS_CHECKSUM_ALGORITHM", "AWS_UNSIGNED_PAYLOAD"])
def test_the_users_choice_stands(
    name: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "ask", Store())
    assert sum_options(bucket, "a/sums", {name: "sha256"}) == {}


def test_nothing_is_asked_over_tls_nor_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "ask", Store())
    assert sum_options(None, "a/sums", {}) == {}
    over_tls = Bucket("https://127.0.0.1:9/b", "us-east-1", "key", "secret")
    assert sum_options(over_tls, "a/sums", {}) == {}
