"""API keys: made, used, taken back."""

import hashlib

import pytest
from sqlalchemy import Engine, select

from jobs.database import transaction
from jobs.errors import NotFound
from jobs.keys import Principal, authenticate, create_key, list_keys, parse, revoke_key
from jobs.tables import api_keys


def made(engine: Engine, tenant: str = "default") -> tuple[str, str]:
    """Return a new key and its id."""
    with transaction(engine) as connection:
        key = create_key(connection, name="test", tenant=tenant)
    parts = parse(key)
    assert parts is not None
    return key, parts[0]


def who(engine: Engine, key: str) -> Principal | None:
    with engine.connect() as connection:
        return authenticate(connection, key)


def test_a_new_key_opens_its_tenants_door(engine: Engine) -> None:
    key, key_id = made(engine, "theirs")

    assert who(engine, key) == Principal(key_id, "theirs")


def test_a_key_is_kept_as_a_digest_alone(engine: Engine) -> None:
    key, key_id = made(engine)
    parts = parse(key)
    with engine.connect() as connection:
        row = connection.execute(select(api_keys)).mappings().one()

    assert parts is not None
    assert row["id"] == key_id
    assert bytes(row["secret_sha256"]) == hashlib.sha256(parts[1].encode()).digest()
    assert parts[1] not in str(dict(row))


def test_every_key_is_another(engine: Engine) -> None:
    keys = {made(engine)[0] for _ in range(20)}

    assert len(keys) == 20
    assert all(len(key) == 70 and key.startswith("pns_") for key in keys)


def test_a_revoked_key_opens_nothing(engine: Engine) -> None:
    key, key_id = made(engine)
    other, _ = made(engine)
    with transaction(engine) as connection:
        revoke_key(connection, key_id)

    assert who(engine, key) is None
    assert who(engine, other) is not None


def test_all_keys_are_listed_the_revoked_ones_too_and_no_secret(engine: Engine) -> None:
    (first, first_id), (second, second_id) = made(engine, "theirs"), made(engine)
    with transaction(engine) as connection:
        revoke_key(connection, first_id)
    with engine.connect() as connection:
        listed = list_keys(connection)

    assert [(one.id, one.tenant, one.name) for one in listed] == [
        (second_id, "default", "test"),
        (first_id, "theirs", "test"),
    ]
    assert [one.revoked_at is not None for one in listed] == [False, True]
    assert not any(key[21:64] in repr(listed) for key in (first, second))


def test_a_key_that_is_not_there_cannot_be_revoked(engine: Engine) -> None:
    with transaction(engine) as connection, pytest.raises(NotFound):
        revoke_key(connection, "0" * 16)


def test_the_id_of_one_key_with_the_secret_of_another_opens_nothing(engine: Engine) -> None:
    key, _ = made(engine)
    with transaction(engine) as connection:
        connection.execute(api_keys.update().values(secret_sha256=bytes(32)))

    assert who(engine, key) is None


def test_a_key_of_another_database_opens_nothing(engine: Engine) -> None:
    key, _ = made(engine)
    with transaction(engine) as connection:
        connection.execute(api_keys.delete())

    assert who(engine, key) is None


@pytest.mark.parametrize("key", ["", "pns_", "Bearer x", "pns_" + "0" * 66])
def test_what_is_no_key_is_not_even_looked_up(engine: Engine, key: str) -> None:
    assert who(engine, key) is None
