"""The Idempotency-Key header: a structured-field string, or the same without its quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.submission import idempotency
from jobs.errors import MalformedIdempotencyKey

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


def key_of(header: str) -> str | None:
    """Return the key that a header names."""
    found = idempotency([header], route="/", body=b"{}")
    return found.key if found else None


def quoted(key: str) -> str:
    """Return a key as RFC 9651, section 4.1.6, writes it."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(PRINTABLE)
def test_every_printable_key_can_be_written_in_quotes(key: str) -> None:
    assert key_of(quoted(key)) == key
    assert key_of(f" \t{quoted(key)} ") == key


@given(PRINTABLE.filter(lambda key: not set(key) & set(' "\\')))
def test_the_bare_form_names_the_same_key(key: str) -> None:
    assert key_of(key) == key_of(quoted(key)) == key


@given(st.text(max_size=300))
def test_any_header_at_all_is_a_key_or_malformed(header: str) -> None:
    try:
        key = key_of(header)
    except MalformedIdempotencyKey:
        return
    assert key is not None
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


def test_no_header_is_no_key() -> None:
    assert idempotency([], route="/", body=b"{}") is None


def test_two_headers_are_malformed() -> None:
    with pytest.raises(MalformedIdempotencyKey):
        idempotency(["a", "a"], route="/", body=b"{}")


def test_the_fingerprint_is_of_the_route_and_the_payload() -> None:
    prints = {
        (found := idempotency(["k"], route=route, body=body)) and found.fingerprint
        for route in ("/a", "/b")
        for body in (b'{"x":1,"y":2}', b'{ "y": 2, "x": 1 }', b'{"x":1,"y":3}')
    }

    assert len(prints) == 4
