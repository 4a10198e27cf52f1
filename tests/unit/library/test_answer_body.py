"""How an answer's body is read and shown."""

import base64
import gzip
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import PermanentError
from tasks.library.answer_body import read_body, show_body
from tasks.library.failures import BrokenAnswerError


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=50))
def test_gzip_is_undone_however_it_is_cut(body: bytes, size: int) -> None:
    assert read_body(cut(gzip.compress(body), size), "gzip", 300) == body


def test_a_file_of_several_members_is_one_body() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")

    assert read_body(cut(packed, 5), "x-gzip", 100) == b"one two"


@pytest.mark.parametrize("encoding", ["", "identity", "br", "gzip, gzip"])
def test_an_encoding_that_was_not_asked_for_is_left_alone(encoding: str) -> None:
    assert read_body([b"ab", b"cd"], encoding, 4) == b"abcd"


def test_no_body_at_all_is_an_empty_one() -> None:
    assert read_body([], "gzip", 0) == b""


def test_a_body_that_fits_exactly_is_kept_and_one_byte_more_is_not() -> None:
    assert read_body([b"abcd"], "", 4) == b"abcd"
    with pytest.raises(PermanentError):
        read_body([b"abcd", b"e"], "", 4)


@pytest.mark.parametrize(
    "packed", [gzip.compress(b"x" * 1000, mtime=0)[:-5], b"not gzip", gzip.compress(b"x", mtime=0) + b"rubbish"]
)
def test_broken_gzip_is_a_broken_answer(packed: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        read_body([packed], "gzip", 10_000)


def test_a_bomb_is_defused_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    tracemalloc.start()

    with pytest.raises(PermanentError):
        read_body([bomb], "gzip", 1_000_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_stream_that_never_says_anything_is_cut_off() -> None:
    # Empty deflate blocks: each costs five bytes on the wire and yields none.
    def endless() -> Iterator[bytes]:
        yield gzip.compress(b"")[:10]
        while True:
            yield b"\x00\x00\x00\xff\xff" * 1000

    with pytest.raises(PermanentError):
        read_body(endless(), "gzip", 10)


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (b"plain", "text/plain", "plain"),
        ("grün".encode(), "text/html; charset=utf-8", "grün"),
        ("grün".encode("latin1"), 'TEXT/HTML;charset="ISO-8859-1"', "grün"),
        (b'{"a":1}', "application/json", '{"a":1}'),
        (b"{}", "application/problem+json", "{}"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"typeless", "", "typeless"),
        (b"", "image/png", ""),
    ],
)
def test_text_is_shown_as_text(body: bytes, content_type: str, shown: str) -> None:
    text, is_base64 = show_body(body, content_type)

    assert text == shown
    assert is_base64 == (content_type == "image/png")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x89PNG", "image/png"),
        (b"\xff\xfe", "text/plain"),
        (b"nul \x00", "text/plain"),
        (b"\x00\x01", ""),
        (b"plain", "text/plain; charset=rot13"),
        (b"+AGE-", "text/plain; charset=utf-7"),
    ],
)
def test_what_is_not_text_is_shown_in_base64(body: bytes, content_type: str) -> None:
    text, is_base64 = show_body(body, content_type)

    assert is_base64
    assert base64.b64decode(text) == body


@given(st.binary(), st.sampled_from(["", "text/plain", "text/plain;charset=utf-16", "application/json", "image/gif"]))
def test_any_body_is_shown_in_text_that_the_database_keeps(body: bytes, content_type: str) -> None:
    text, _ = show_body(body, content_type)

    assert "\0" not in text
    text.encode()
