"""`penstock migrate` and `penstock keys` on a real database."""

import json
import stat
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from api.security import REMEMBERED_FOR
from deploy.cli.database import revoke_key
from jobs.database import transaction
from jobs.keys import Principal, authenticate
from jobs.migrations import head
from tests.integration.cli.conftest import Command, Platform


@pytest.fixture
def operate(anywhere: Command, database_url: str) -> Command:
    """The command with a migrated database of its own."""
    anywhere.environment["DATABASE_URL"] = database_url
    return anywhere


def genuine(engine: Engine, key: str) -> Principal | None:
    with engine.connect() as connection:
        return authenticate(connection, key)


def test_a_check_tells_what_is_to_be_done_and_does_nothing(anywhere: Command, empty_url: str) -> None:
    anywhere.environment["DATABASE_URL"] = empty_url

    for _ in range(2):
        assert anywhere("migrate", "--check", code=1).stdout == f"schema empty -> {head()}\n"
    assert anywhere("migrate").stdout == f"schema empty -> {head()}\n"
    assert anywhere("migrate", "--check").stdout == f"schema {head()}: nothing to do\n"
    assert anywhere("migrate").stdout == f"schema {head()}: nothing to do\n"


def test_a_later_release_s_schema_is_left_as_it_is(operate: Command, engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for arguments in (["migrate", "--check"], ["migrate"]):
        assert operate(*arguments).stdout == f"schema 9999 suits {head()}: nothing to do\n"


def test_a_database_of_another_release_is_left_alone(operate: Command, engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))

    assert operate("migrate", "--check", code=1).stdout == f"schema v9999 -> {head()}\n"
    assert "made by another release" in operate("migrate", code=2).stderr


def test_a_new_key_is_printed_alone_and_opens_its_tenants_door(operate: Command, engine: Engine) -> None:
    result = operate("keys", "create", "--name", "ci", "--tenant", "acme")

    found = genuine(engine, result.stdout.strip())
    assert found is not None
    assert found.tenant == "acme"
    assert "cannot be shown again" in result.stderr


def test_a_key_is_saved_for_its_owner_alone_and_then_works(penstock: Command, platform: Platform) -> None:
    file = penstock.home / "billing.key"
    penstock.environment["DATABASE_URL"] = platform.database_url

    assert penstock("keys", "create", "--name", "billing", "--tenant", uuid.uuid4(), "--save", file).stdout == ""

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    del penstock.environment["PENSTOCK_API_KEY"]
    assert penstock.lines("jobs", "--key-file", file) == []


def test_a_key_is_not_saved_over_a_file(operate: Command, engine: Engine) -> None:
    file = operate.home / "precious"
    file.write_text("precious")

    assert "exists already" in operate("keys", "create", "--name", "x", "--save", file, code=2).stderr
    assert file.read_text() == "precious"
    assert operate.lines("keys", "list") == []


def test_a_key_that_cannot_be_saved_is_not_made(operate: Command) -> None:
    operate("keys", "create", "--name", "x", "--save", operate.home / "no" / "such" / "folder", code=2)

    assert operate.lines("keys", "list") == []


def test_keys_are_listed_newest_first_without_secrets(operate: Command) -> None:
    keys = [operate("keys", "create", "--name", name).stdout.strip() for name in ("first", "second")]

    result = operate("keys", "list")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[1:3] for row in rows] == [["second", "default"], ["first", "default"]]
    assert [row[0] for row in rows] == [key.split("_")[1] for key in reversed(keys)]
    assert not any(key.split("_", 2)[2] in result.stdout for key in keys)
    assert [json.loads(line)["name"] for line in operate("keys", "list", "--json").stdout.splitlines()] == [
        "second",
        "first",
    ]


def test_a_revoked_key_opens_nothing_and_is_listed_so(operate: Command, engine: Engine) -> None:
    key = operate("keys", "create", "--name", "x").stdout.strip()
    key_id = key.split("_")[1]

    operate("keys", "revoke", key_id)

    assert genuine(engine, key) is None
    assert operate.lines("keys", "list")[0][4] != ""
    assert "Error: There is no API key nobody." in operate("keys", "revoke", "nobody", code=2).stderr


def test_the_help_tells_truly_how_long_a_revoked_key_may_still_work() -> None:
    assert f"within {REMEMBERED_FOR:g} seconds" in " ".join((revoke_key.__doc__ or "").split())


def test_a_nameless_key_is_refused(operate: Command) -> None:
    operate("keys", "create", "--name", " ", code=2)


def test_no_keys_are_told_to_people(operate: Command) -> None:
    assert "No keys." in operate("keys", "list", terminal=True).stdout


def test_an_empty_database_names_the_cure(anywhere: Command, empty_url: str) -> None:
    anywhere.environment["DATABASE_URL"] = empty_url

    assert "`penstock migrate`" in anywhere("keys", "list", code=2).stderr


@pytest.mark.parametrize("url", ["mysql://u@h/n", "nonsense"])
def test_a_url_that_is_not_postgresqls_names_the_variable(anywhere: Command, url: str) -> None:
    error = anywhere("migrate", code=2, DATABASE_URL=url).stderr

    assert "DATABASE_URL" in error
    assert "postgresql://user@host:5432/name" in error


def test_a_database_that_is_away_says_so(anywhere: Command) -> None:
    assert (
        "PostgreSQL does not answer"
        in anywhere("keys", "list", code=2, DATABASE_URL="postgresql://u@127.0.0.1:1/n").stderr
    )


def test_a_migration_tells_a_database_that_is_away_from_one_that_is_named_wrongly(
    anywhere: Command, empty_url: str
) -> None:
    for arguments in (["migrate", "--check"], ["migrate"]):
        assert "is it up" in anywhere(*arguments, code=75, DATABASE_URL="postgresql://u@127.0.0.1:1/n").stderr
    for wrong in ("nonsense", f"{empty_url}_that_is_not_there"):
        assert "DATABASE_URL" in anywhere("migrate", "--check", code=2, DATABASE_URL=wrong).stderr


def test_a_migration_that_waits_in_vain_ends_as_every_process_does(anywhere: Command) -> None:
    url = "postgresql://u:hush@127.0.0.1:1/n"

    error = anywhere("migrate", code=75, DATABASE_URL=url, PENSTOCK_START_WAIT_SECONDS="1").stderr

    assert error.startswith("The migration cannot start: DATABASE_URL: PostgreSQL at 127.0.0.1:1: ")
    assert (error.count("\n"), "hush" in error) == (1, False)


def test_an_impossible_setting_of_a_migration_is_told_in_one_line(anywhere: Command, database_url: str) -> None:
    error = anywhere("migrate", code=2, DATABASE_URL=database_url, PENSTOCK_START_WAIT_SECONDS="abc").stderr

    assert error.startswith("The migration cannot start: PENSTOCK_START_WAIT_SECONDS: ")
    assert error.count("\n") == 1


def test_without_a_database_nothing_is_guessed(anywhere: Command) -> None:
    assert "No database is known." in anywhere("migrate", code=2).stderr


def test_the_local_stacks_database_is_used_where_none_is_named(anywhere: Command, database_url: str) -> None:
    leave_stack(anywhere.home / "home", database_url=database_url)

    assert anywhere("migrate", "--check").stdout == f"schema {head()}: nothing to do\n"


def leave_stack(home: Path, **facts: str) -> None:
    home.mkdir()
    file = home / "stack.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"api_url": "http://127.0.0.1:1", "api_key": "pns_x", **facts}))
