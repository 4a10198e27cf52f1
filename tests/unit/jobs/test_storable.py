"""What PostgreSQL can keep of a text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storable import REPLACEMENT, is_storable, is_storable_json, storable

any_text = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x00\ud800\udfff\\u0"))
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=8,
)


def has_bad(text: str) -> bool:
    return any(character == "\x00" or "\ud800" <= character <= "\udfff" for character in text)


def texts(value: object) -> list[str]:
    """Return every string in `value`, the keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in [key, *texts(item)]]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []


@given(any_text)
def test_nul_and_surrogates_are_found(text: str) -> None:
    assert is_storable(text) == (not has_bad(text))


@given(any_text)
def test_what_was_made_storable_is_so_and_otherwise_the_same(text: str) -> None:
    cleaned = storable(text)

    assert is_storable(cleaned)
    assert len(cleaned) == len(text)
    assert all(new == old or (has_bad(old) and new == REPLACEMENT) for new, old in zip(cleaned, text, strict=True))


@given(documents, st.booleans())
def test_they_are_found_in_a_document_however_it_is_written(document: object, escaped: bool) -> None:
    written = json.dumps(document, ensure_ascii=escaped)
    whole = json.loads(written)  # two halves that stand side by side were joined by the reader

    assert is_storable_json(written) == (not any(has_bad(text) for text in texts(whole)))


@pytest.mark.parametrize("written", ['"\\\\u0000"', '"\\\\\\\\u0000"', '"\\ud83d\\ude00"'])
def test_what_only_looks_like_it_is_no_reason(written: str) -> None:
    assert is_storable_json(written)
