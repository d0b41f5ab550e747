"""Static files: forms, conditions and ranges."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from greenchat.http.pages import WEB
from greenchat.http.static import static_routes
from tests.http.support import Client, Served

Serve = Callable[..., Served]

TEXT = b"".join(b"line %d\n" % number for number in range(500))
CHANGED = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(b"<p>home")
    (tmp_path / "app.js").write_bytes(TEXT)
    (tmp_path / "app.js.br").write_bytes(b"brotli")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "index.html").write_bytes(TEXT)
    (tmp_path / "tiny.css").write_bytes(b"p{}")
    (tmp_path / "code.py").write_bytes(b"secret")
    return tmp_path


@pytest.fixture
def client(serve: Serve, folder: Path) -> Client:
    return serve(rows=static_routes(folder)).connect()


def test_files_have_their_types(client: Client) -> None:
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/index.html").body == client.get("/").body == b"<p>home"
    assert client.get("/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/deep/").body == TEXT
    for path in ("/code.py", "/app.js.br", "/../secret", "/deep", "/deep/../app.js", "/%2e%2e/app.js"):
        assert client.get(path).status == 404


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("gzip; q=0", None),
        ("identity", None),
        ("GZIP", "gzip"),
    ],
)
def test_a_compressed_form_is_sent_to_who_takes_it(client: Client, accepted: str, coding: str | None) -> None:
    answer = client.get("/app.js", *([f"Accept-Encoding: {accepted}"] if accepted else []))
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "accept-encoding"
    plain = gzip.decompress(answer.body) if coding == "gzip" else answer.body
    assert plain == (b"brotli" if coding == "br" else TEXT)


def test_a_form_that_saves_nothing_is_not_kept(client: Client) -> None:
    answer = client.get("/tiny.css", "Accept-Encoding: gzip")
    assert (answer.body, "vary" in answer.headers) == (b"p{}", False)


def test_what_the_client_has_is_not_sent_again(client: Client) -> None:
    first = client.get("/app.js", "Accept-Encoding: gzip")
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for condition in (
        f"If-None-Match: {etag}",
        f'If-None-Match: "other", W/{etag}',
        "If-None-Match: *",
        f"If-Modified-Since: {modified}",
    ):
        answer = client.get("/app.js", "Accept-Encoding: gzip", condition)
        assert (answer.status, answer.body) == (304, b""), condition
        assert answer.headers["etag"] == etag
        assert "content-length" not in answer.headers
    for condition in (
        'If-None-Match: "other"',
        f"If-Modified-Since: {CHANGED}",
        "If-Modified-Since: yesterday",
        "If-Match: *",
    ):
        assert client.get("/app.js", condition).status == 200, condition
    # Another form is another thing, and the etag goes before the date.
    assert client.get("/app.js", f"If-None-Match: {etag}", f"If-Modified-Since: {modified}").status == 200
    assert client.get("/app.js", 'If-Match: "other"').status == 412


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-10", 10, 11),
        ("bytes=100-", 100, len(TEXT)),
        ("bytes=-5", len(TEXT) - 5, len(TEXT)),
        ("bytes=-999999", 0, len(TEXT)),
        ("bytes=5-999999", 5, len(TEXT)),
    ],
)
def test_a_range_is_a_part_of_the_plain_form(client: Client, wanted: str, start: int, end: int) -> None:
    answer = client.get("/app.js", f"Range: {wanted}", "Accept-Encoding: gzip")
    assert (answer.status, answer.body) == (206, TEXT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(TEXT)}"
    head = client.get("/app.js", f"Range: {wanted}", method="HEAD")
    assert int(head.headers["content-length"]) == end - start


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "bytes=9-1", "bytes=-", "lines=1-2", "bytes=a-b", "bytes=--5"]
)
def test_a_range_that_is_none_is_left_out(client: Client, wanted: str) -> None:
    assert client.get("/app.js", f"Range: {wanted}").status == 200


@pytest.mark.parametrize("wanted", [f"bytes={len(TEXT)}-", "bytes=99999-999999", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(client: Client, wanted: str) -> None:
    answer = client.get("/app.js", f"Range: {wanted}")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(TEXT)}")


def test_a_range_of_another_version_is_the_whole(client: Client) -> None:
    first = client.get("/app.js")
    for condition, status in (
        (first.headers["etag"], 206),
        (first.headers["last-modified"], 206),
        ('"other"', 200),
        ("W/" + first.headers["etag"], 200),
        (CHANGED, 200),
    ):
        assert client.get("/app.js", "Range: bytes=0-1", f"If-Range: {condition}").status == status


def test_the_pages_have_nothing_inline() -> None:
    for page in WEB.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not any(
            mark in text for mark in ("<style", "style=", "onclick", "javascript:", "http://", "https://")
        )
        assert "<script>" not in text
