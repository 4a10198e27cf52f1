"""What is taken for the URL of a PostgreSQL, and what is told of another."""

import re

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from jobs.urls import NO_PORT, of_postgresql

TAKEN = [
    "postgresql://host/name",
    "postgres://host",
    "postgresql+psycopg://u:p@host:5432/name?sslmode=require",
    "postgresql://u:a/b:c@host:5432/name",
    "postgresql://u:p@[::1]:5432/name",
    "postgresql:///name?host=/run/postgresql&port=5433",
    "postgresql://u@/name",
]


@pytest.mark.parametrize("url", TAKEN)
def test_what_sqlalchemy_reaches_is_taken(url: str) -> None:
    assert make_url(url).get_backend_name() in {"postgresql", "postgres"}
    assert of_postgresql(SecretStr(url)).get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("there:5432/name", "is not a URL"),
        ("", "is not a URL"),
        ("mysql://u:p@host/name", "must start with postgresql://"),
        ("postgresql://u:p@host:many/name", NO_PORT),
        ("postgresql://host:/name", NO_PORT),
        ("postgresql://u:p@host:0/name", NO_PORT),
        ("postgresql://u:p@host:65536/name", NO_PORT),
        ("postgresql://u:p@[::1]:x/name", NO_PORT),
        ("postgresql://one:5432,two:5432/name", NO_PORT),
    ],
)
def test_another_is_refused_without_a_word_of_it(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}") as refused:
        of_postgresql(SecretStr(url))

    assert not url or url not in str(refused.value)
