"""What an API key looks like, and what is refused before anyone asks the database."""

import base64
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.keys import parse

ALPHABET = string.ascii_letters + string.digits + "-_"
ids = st.text("0123456789abcdef", min_size=16, max_size=16)
secrets = st.text(ALPHABET, min_size=43, max_size=43)


def signed(body: str) -> str:
    """Return `body` with its checksum, counted here anew so that the format is told twice."""
    checksum = base64.urlsafe_b64encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode()[:6]
    return body + checksum


@given(ids, secrets)
def test_a_well_formed_key_gives_its_id_and_its_secret(key_id: str, secret: str) -> None:
    assert parse(signed(f"pns_{key_id}_{secret}")) == (key_id, secret)


@given(ids, secrets, st.data())
def test_one_changed_character_is_always_refused(key_id: str, secret: str, data: st.DataObject) -> None:
    key = signed(f"pns_{key_id}_{secret}")
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.sampled_from(string.printable).filter(lambda character: character != key[place]))

    assert parse(key[:place] + other + key[place + 1 :]) is None


@given(ids, secrets, st.integers(0, 68))
def test_two_neighbours_changed_about_are_refused(key_id: str, secret: str, place: int) -> None:
    key = signed(f"pns_{key_id}_{secret}")
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]

    assert swapped == key or parse(swapped) is None


@given(st.text())
def test_anything_else_is_refused_and_raises_nothing(key: str) -> None:
    assert parse(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "pns_",
        "é" * 70,
        signed("pns_" + "0" * 16 + "_" + "a" * 42),
        signed("pns_" + "0" * 16 + "_" + "a" * 44),
        signed("xyz_" + "0" * 16 + "_" + "a" * 43),
        signed("pns_" + "0" * 15 + "\x00" + "_" + "a" * 43),
        signed("pns_" + "0" * 15 + "G" + "_" + "a" * 43),
        signed("pns." + "0" * 16 + "_" + "a" * 43),
        signed("pns_" + "0" * 16 + "." + "a" * 43),
    ],
)
def test_a_key_of_another_shape_is_refused_whatever_its_checksum(key: str) -> None:
    assert parse(key) is None
