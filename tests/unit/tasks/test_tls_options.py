"""Whose certificate a broker has to show."""

from pathlib import Path

import pytest

from tasks.topology import tls_options


@pytest.mark.parametrize(
    "url",
    [
        "amqps://user:secret@first.internal:5671//",
        "amqps://first.internal;amqps://second.internal",
        "amqps://user:secret@first.internal:5671//;amqps://user:secret@second.internal:5671//",
    ],
    ids=["one", "several, short", "several, in full"],
)
def test_the_name_of_the_first_host_is_wanted_in_the_certificate(url: str) -> None:
    options = tls_options(url, Path("/etc/penstock/ca.pem"))

    assert options is not None
    assert options["server_hostname"] == "first.internal"


def test_without_tls_nobody_shows_one() -> None:
    assert tls_options("amqp://first.internal", None) is None
