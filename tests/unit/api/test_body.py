"""A body is read once, bounded, and kept only when PostgreSQL can keep it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import body
from api.problems import MalformedBody
from jobs.errors import InvalidPayload

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def levels(value: Any) -> int:
    """Return how deeply a value is nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def holds_nul(value: Any) -> bool:
    """Tell whether NUL is in a text of the value."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(holds_nul(name) or holds_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(holds_nul, value))


@given(PLAIN, st.integers(0, 40))
def test_depth_is_counted_as_a_parser_would(value: Any, wraps: int) -> None:
    for _ in range(wraps):
        value = [value, '"[[['] if wraps % 2 else {'[{\\": 1': value}
    text = json.dumps(value).encode()

    if levels(value) <= body.DEEPEST:
        body.check_depth(text)
    else:
        with pytest.raises(MalformedBody):
            body.check_depth(text)


@given(st.binary())
def test_any_bytes_at_all_are_looked_at_without_an_error(noise: bytes) -> None:
    body.check_depth(noise + b"[" * 10)


@given(st.dictionaries(TEXT, PLAIN, max_size=4))
def test_what_is_stored_is_what_was_given(payload: dict[str, Any]) -> None:
    if holds_nul(payload):
        with pytest.raises(InvalidPayload):
            body.storable(payload)
    else:
        assert json.loads(body.storable(payload)) == payload


@pytest.mark.parametrize("text", ["a\0b", "\0", "\\\0", "\\\\\0"])
def test_nul_is_found_in_values_and_names_however_it_is_surrounded(text: str) -> None:
    for payload in ({"a": text}, {text: 1}, {"a": [{"b": text}]}):
        with pytest.raises(InvalidPayload):
            body.storable(payload)


@pytest.mark.parametrize("text", [r"\u0000", "\\\\u0000", r"a\\\u0000b", "NaN", "-Infinity"])
def test_what_only_looks_like_nul_or_nan_is_kept(text: str) -> None:
    assert json.loads(body.storable({"a": text, text: 1})) == {"a": text, text: 1}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_know_is_refused(number: float) -> None:
    with pytest.raises(InvalidPayload):
        body.storable({"a": [number]})


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidPayload):
        body.storable({"a": "\ud800"})


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_the_order_of_names_and_blanks_do_not_count(value: dict[str, Any]) -> None:
    one = json.dumps(value).encode()
    other = json.dumps(dict(reversed(value.items())), indent=3, ensure_ascii=False).encode("utf-8", "surrogatepass")

    assert body.canonical(one) == body.canonical(other)
