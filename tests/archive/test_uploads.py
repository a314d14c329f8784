"""Uploads that a killed run left: whose they are, how the store is asked, what it may answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from noa_async.archive.sigv4 import Bucket
from noa_async.archive.uploads import Note, Upload, Uploads, ours

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "after", "mine"),
    [
        ("a", 0, True),
        ("a", -1, True),  # whole seconds, cut off
        ("a", 299, True),
        ("a", -60, False),
        ("a", 3600, False),
        ("a/b", 0, False),
        ("", 0, False),
    ],
)
@pytest.mark.parametrize("ahead", [0, 900, -900])
def test_ours_is_what_has_the_key_and_was_begun_after_the_note(key, after, mine, ahead):
    upload = Upload(key, "1", AT + timedelta(seconds=after + ahead))
    assert ours([upload], Note("a", AT), timedelta(seconds=ahead)) == [upload] * mine


def test_a_signature_is_as_amazon_documents_it():
    """Its own examples: 'Signature Calculations for the Authorization Header'."""
    bucket = Bucket("https://examplebucket.s3.amazonaws.com", "us-east-1",
                    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")  # fmt: skip
    at = datetime(2013, 5, 24, tzinfo=UTC)
    address, headers = bucket.request("GET", "", {"prefix": "J", "max-keys": "2"}, at)
    assert address == "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"
    assert headers["authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )
    _, headers = bucket.request("GET", "", {"lifecycle": ""}, at)
    assert headers["authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
    assert "wJalr" not in repr(bucket)


def test_who_asks_and_where():
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found = Bucket.of("b", {"region": "eu-1"}, keys)
    assert found == Bucket("https://s3.eu-1.amazonaws.com/b", "eu-1", "k", "s", "t")
    assert found is not None
    assert "x-amz-security-token" in found.request("GET", "", {}, AT)[1]
    local = Bucket.of("b", {"endpoint": "http://h:1/"}, keys | {"AWS_REGION": "r"})
    assert local == Bucket("http://h:1/b", "r", "k", "s", "t")
    hosted = keys | {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true", "AWS_ENDPOINT": "http://b.h"}
    assert Bucket.of("b", {}, hosted) == Bucket("http://b.h", "", "k", "s", "t")
    assert Bucket.of("b", {"region": "eu-1"}, {}) is None


Answer = Callable[[str, str], tuple[int, str]]


@contextmanager
def serving(answer: Answer) -> Iterator[Bucket]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

        do_DELETE = do_GET  # noqa: N815 (its name)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield Bucket(f"http://127.0.0.1:{server.server_port}/b", "r", "k", "s")
        server.shutdown()
        thread.join()


def note(folder: Path, text: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "1.json").write_text(text or json.dumps({"key": "p/a b", "begun": time.time()}))


def listed(key: str, number: int, *, more: bool = False) -> str:
    begun = datetime.now(UTC).isoformat()
    return (
        f"<R><IsTruncated>{str(more).lower()}</IsTruncated><Upload><Key>{key}</Key>"
        f"<UploadId>{number}</UploadId><Initiated>{begun}</Initiated></Upload></R>"
    )


def test_pages_of_a_listing_are_followed_and_ours_alone_is_ended(tmp_path):
    asked = []

    def answer(method: str, path: str) -> tuple[int, str]:
        asked.append(f"{method} {path}")
        if "marker" in path:
            return 200, listed("p/a b", 2)
        return (204, "") if method == "DELETE" else (200, listed("p/a b/c", 1, more=True))

    note(tmp_path / "uploads")
    with serving(answer) as bucket:
        assert Uploads(tmp_path / "uploads").clear(bucket) == 1
    assert asked == [
        "GET /b/?prefix=p%2Fa%20b&uploads=",
        "GET /b/?key-marker=p%2Fa%20b%2Fc&prefix=p%2Fa%20b&upload-id-marker=1&uploads=",
        "DELETE /b/p/a%20b?uploadId=2",
    ]
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "stays"),
    [(403, False), (404, False), (501, False), (307, False), (500, True), (503, True)],
)
def test_what_a_store_refuses_is_left_to_it_and_what_it_cannot_now_to_the_next_run(
    tmp_path, status, stays
):
    note(tmp_path / "uploads")
    with serving(lambda *_: (status, "")) as bucket:
        assert Uploads(tmp_path / "uploads").clear(bucket) == 0
    assert len(list((tmp_path / "uploads").iterdir())) == stays


def test_a_store_that_is_away_and_notes_that_say_nothing(tmp_path):
    uploads = Uploads(tmp_path / "uploads")
    assert uploads.clear(None) == 0
    with serving(lambda *_: (200, "")) as bucket:
        pass
    note(tmp_path / "uploads")
    assert uploads.clear(bucket) == 0
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    note(tmp_path / "uploads", "{")
    assert uploads.clear(bucket) == 0
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_note_stays_where_what_it_is_about_does_not_come_to_its_end(tmp_path):
    uploads = Uploads(tmp_path / "uploads")
    with uploads.noted("a"):
        assert len(list((tmp_path / "uploads").iterdir())) == 1
    assert list((tmp_path / "uploads").iterdir()) == []
    with pytest.raises(KeyError), uploads.noted("a"):
        raise KeyError
    assert len(list((tmp_path / "uploads").iterdir())) == 1
