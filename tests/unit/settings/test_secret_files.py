"""A secret may be in a file, whichever setting it is; and what everybody knows is no secret."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from deploy.flower.settings import FlowerSettings
from jobs.database import DatabaseSettings
from jobs.environment import LARGEST_SECRET_BYTES, Settings, known_secret, secret_variables
from jobs.errors import ConfigurationError
from jobs.misconfiguration import told
from jobs.telemetry.reports import ReportSettings
from tasks.library.settings import SmtpSettings
from tasks.settings import TaskSettings
from tests.unit.docs.settings_page import CLASSES

VALUES = {
    "database_url": "postgresql://u:hush@h/n",
    "database_replica_url": "postgresql://u:hush@h/n",
    "broker_url": "amqp://u:hush@h//",
}
SECRETS = [
    (settings, field, variable)
    for _, settings, _ in CLASSES
    for field, names in secret_variables(settings)
    for variable in names
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file for a secret."""
    return tmp_path / "secret"


def test_the_secrets_are_those_that_there_should_be() -> None:
    assert {variable for _, _, variable in SECRETS} >= {
        "PENSTOCK_DATABASE_URL",
        "DATABASE_URL",
        "PENSTOCK_DATABASE_REPLICA_URL",
        "PENSTOCK_BROKER_URL",
        "BROKER_URL",
        "PENSTOCK_FLOWER_PASSWORD",
        "FLOWER_BROKER_API",
        "SENTRY_DSN",
        "PENSTOCK_SMTP_PASSWORD",
    }


@pytest.mark.parametrize(("settings", "field", "variable"), SECRETS)
def test_every_secret_can_be_in_a_file(
    settings: type[Settings], field: str, variable: str, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = VALUES.get(field, "hush, hush")
    secret.write_text(f"{value}\n")
    monkeypatch.setenv(f"{variable}_FILE", str(secret))
    monkeypatch.setenv("PENSTOCK_SMTP_USERNAME", "ada")

    found = getattr(settings(), field)

    assert isinstance(found, SecretStr)
    assert found.get_secret_value() == value
    assert "hush" not in repr(settings())


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_end_of_the_line_is_no_part_of_a_secret_and_spaces_are(
    secret: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.write_bytes(f" a b{end}".encode())
    monkeypatch.setenv("PENSTOCK_FLOWER_PASSWORD_FILE", str(secret))

    assert FlowerSettings().login() == "penstock: a b"


def test_a_secret_that_is_given_twice_is_refused(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.write_text("hush")
    monkeypatch.setenv("SENTRY_DSN", "other")
    monkeypatch.setenv("SENTRY_DSN_FILE", str(secret))

    with pytest.raises(ConfigurationError) as caught:
        ReportSettings()

    assert str(caught.value) == "SENTRY_DSN and SENTRY_DSN_FILE are both set; unset one of them."


def test_a_file_counts_for_the_name_that_it_stands_for(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.write_text(VALUES["broker_url"])
    monkeypatch.setenv("PENSTOCK_BROKER_URL_FILE", str(secret))
    monkeypatch.setenv("BROKER_URL", "redis://elsewhere")

    found = TaskSettings().broker_url

    assert found is not None
    assert found.get_secret_value() == VALUES["broker_url"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "has several lines"),
        (b"\nsecond", "has several lines"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * (LARGEST_SECRET_BYTES + 1), "is larger than"),
    ],
    ids=["empty", "a line's end", "a space", "two lines", "an empty line", "bytes", "large"],
)
def test_a_file_without_a_secret_is_refused_by_its_name(
    content: bytes, says: str, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.write_bytes(content)
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))

    with pytest.raises(ConfigurationError) as caught:
        DatabaseSettings()

    assert f"DATABASE_URL_FILE names {secret}, which {says}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "why"), [("nothing", "No such file"), ("file/below", "Not a directory"), ("x" * 300, "name too long")]
)
def test_a_file_that_cannot_be_read_is_named(
    path: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / path))

    with pytest.raises(ConfigurationError) as caught:
        DatabaseSettings()

    assert str(caught.value).startswith(f"DATABASE_URL_FILE names {tmp_path / path}, which cannot be read: ")
    assert why in str(caught.value)


def test_what_is_no_file_is_refused_and_keeps_nobody_waiting(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(secret)
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))

    with pytest.raises(ConfigurationError, match="is no regular file"):
        DatabaseSettings()


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "")
    monkeypatch.setenv("PENSTOCK_BROKER_URL_FILE", "")
    monkeypatch.setenv("BROKER_URL", VALUES["broker_url"])
    monkeypatch.setenv("PENSTOCK_DOORBELL_WINDOW", "")

    found = TaskSettings()

    assert found.broker_url == SecretStr(VALUES["broker_url"])
    assert found.doorbell_window == 10_000


@pytest.mark.parametrize(
    "value",
    ["change-me", "CHANGEME", "change_me_please", "guest", "password", "<secret>", "xxxx"],
)
def test_what_everybody_knows_is_no_secret(value: str) -> None:
    assert known_secret(value) == value
    assert known_secret(f"postgresql://user:{value}@host:5432/name") == value
    assert known_secret(f"redis://:{value}@host:6379/0") == value
    assert known_secret(f"amqp://u:hush@one//;amqp://u:{value}@two//") == value
    assert known_secret(f"postgresql://host/name?sslmode=require&password={value}") == value
    assert known_secret(f"postgresql:///name?password={value}&host=/run") == value


@pytest.mark.parametrize(
    "value",
    [
        "hush",
        "postgresql://postgres@h/postgres",
        "postgresql://h/n?application_name=penstock",
        "redis://h",
        "amqp://guest:hush@h//",
        "changes",
        "x",
        "",
    ],
)
def test_what_nobody_else_knows_is_one(value: str) -> None:
    assert known_secret(value) is None


@pytest.mark.parametrize(("settings", "field", "variable"), SECRETS)
def test_no_setting_takes_an_example_for_a_secret(
    settings: type[BaseSettings], field: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = VALUES.get(field)
    monkeypatch.setenv(variable, url.replace("hush", "change-me") if url else "change-me")
    monkeypatch.setenv("PENSTOCK_SMTP_USERNAME", "ada")

    with pytest.raises(ValidationError) as caught:
        settings()

    assert told(caught.value).startswith(f"{variable}: holds 'change-me', which everybody knows")


def test_a_password_for_mail_comes_with_its_user_and_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SMTP_PASSWORD", "hush")

    with pytest.raises(ValidationError) as caught:
        SmtpSettings()

    assert told(caught.value) == "PENSTOCK_SMTP_*: username and password go together"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PENSTOCK_DATABASE_POOL_SIZE", "0", "should be greater than or equal to 1 (unset, it is 8)"),
        ("DATABASE_URL", "mysql://u:hush@h/n", "DATABASE_URL: must start with postgresql://"),
    ],
)
def test_what_is_impossible_is_named_with_its_cure_and_without_its_value(
    variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", VALUES["database_url"])
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValidationError) as caught:
        DatabaseSettings()

    line = told(caught.value)
    assert line.startswith(variable)
    assert says in line
    assert "hush" not in line


def test_what_is_missing_is_named_with_what_to_write() -> None:
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings()

    assert told(caught.value).startswith("PENSTOCK_DATABASE_URL is not set: PostgreSQL, as postgresql://")
