"""A migration that may not, or meets what is not its own, says so in one line and changes nothing."""

import re
import uuid
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text

from jobs.database import DatabaseSettings, transaction
from jobs.errors import ConfigurationError
from jobs.migrations import current, upgrade
from jobs.migrations.running import bring
from tests.services.databases import connect_to


@pytest.fixture
def owner(empty_url: str) -> Iterator[Engine]:
    """An engine on the empty database, of the role that owns it."""
    opened = connect_to(empty_url, pool_size=1)
    yield opened
    opened.dispose()


@pytest.fixture
def guest(owner: Engine) -> Iterator[str]:
    """The url of the same database for a role that owns nothing."""
    role = f"guest_{uuid.uuid4().hex}"
    with transaction(owner) as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'hush'"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    yield owner.url.set(username=role, password="hush").render_as_string(hide_password=False)
    with transaction(owner) as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        bring(DatabaseSettings(database_url=SecretStr(url)))
    assert "\n" not in str(caught.value)
    assert re.match(r"(PENSTOCK_)?DATABASE_URL: ", str(caught.value))


def test_a_role_that_may_make_no_tables_is_told(owner: Engine, guest: str) -> None:
    refused(guest, "permission denied for schema public; migrate as the role that owns the tables")

    assert current(owner) is None


def test_a_role_that_does_not_own_the_tables_is_told(owner: Engine, guest: str) -> None:
    upgrade(owner, "0006")
    role = make_url(guest).username
    with transaction(owner) as connection:
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text(f"GRANT CREATE ON SCHEMA public TO {role}"))

    refused(guest, "must be owner of table events; migrate as the role that owns the tables")

    assert current(owner) == "0006"


def test_the_database_of_another_program_is_told_and_left_alone(owner: Engine, empty_url: str) -> None:
    with transaction(owner) as connection:
        connection.execute(text("CREATE TABLE jobs (id int)"))

    refused(empty_url, 'relation "jobs" already exists; something else is in this database: is it the right one')

    assert current(owner) is None
