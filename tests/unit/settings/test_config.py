"""`penstock config` shows what is in force and where it comes from, and no secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.configuration import redacted
from deploy.cli.main import app
from jobs.environment import refuse_unknown
from jobs.errors import ConfigurationError
from jobs.variables import KNOWN

DATABASE = "postgresql://u:hush@db:5432/n?sslmode=verify-full"


def shown(*arguments: str, code: int = 0) -> dict[str, tuple[str | None, str]]:
    """Return each setting's value and source, as the command shows them."""
    result = CliRunner().invoke(app, ["config", "--json", *arguments])
    assert result.exit_code == code, result.output
    assert "hush" not in result.output
    rows = map(json.loads, result.stdout.splitlines())
    return {row["variable"]: (row["value"], row["source"]) for row in rows}


def test_each_setting_has_its_value_and_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "broker"
    file.write_text("amqp://u:hush@broker//\n")
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("PENSTOCK_BROKER_URL_FILE", str(file))
    monkeypatch.setenv("PENSTOCK_QUEUES", "a,b")

    found = shown()

    assert found["DATABASE_URL"] == ("postgresql://u:***@db:5432/n?sslmode=verify-full", "environment")
    assert found["PENSTOCK_BROKER_URL"] == ("amqp://u:***@broker//", f"file {file}")
    assert found["PENSTOCK_QUEUES"] == ("a,b", "environment")
    assert found["PENSTOCK_DATABASE_POOL_SIZE"] == ("8", "default")
    assert found["SENTRY_DSN"] == (None, "default")


def test_no_url_shows_its_login_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "amqp://a:hush@h1:5672//;amqp://b:hush@h2:5672//")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://tok:hush@h:4318/v1/traces")
    monkeypatch.setenv("PENSTOCK_TASK_MODULES", "one,http://u:hush@h")

    found = shown()

    assert found["PENSTOCK_BROKER_URL"][0] == "amqp://a:***@h1:5672//;amqp://b:***@h2:5672//"
    assert found["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"][0] == "http://***@h:4318/v1/traces"
    assert found["PENSTOCK_TASK_MODULES"][0] == "one,http://***@h"


def test_a_role_is_shown_what_it_reads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE)

    assert "PENSTOCK_API_HOST" not in shown("--role", "worker")
    assert "PENSTOCK_WORKER_POOL" in shown("--role", "worker")
    assert "DATABASE_URL" not in shown("--role", "flower")


@pytest.mark.parametrize(
    ("variable", "value"), [("PENSTOCK_API_PORT", "many"), ("PENSTOCK_API_PRT", "1"), ("SENTRY_DSN_FILE", "/no/file")]
)
def test_what_is_wrong_is_told_beside_the_rest(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv(variable, value)

    found = shown(code=2)

    assert found["DATABASE_URL"][1] == "environment"
    assert variable in CliRunner().invoke(app, ["config"]).stderr


@pytest.mark.parametrize(
    ("secret", "shows"),
    [
        ("hush", "***"),
        ("redis://:hush@h:6379/0", "redis://***@h:6379/0"),
        ("amqp://u@h//", "amqp://u@h//"),
        ("https://hush@sentry.example/1", "https://***@sentry.example/1"),
        ("http://u:hush@h/api/", "http://***@h/api/"),
        ("postgresql:///n?password=hush&sslmode=require", "postgresql:///n?password=***&sslmode=require"),
        ("postgresql://u:hu:sh@h/n", "postgresql://u:***@h/n"),
        ("amqp://[hush", "***"),
        ("amqp://u:hush", "***"),
        ("amqps://u:hush@[::1]:5671//", "amqps://u:***@[::1]:5671//"),
        ("amqp://u:hush@a//;amqp://v:hush@b//", "amqp://u:***@a//;amqp://v:***@b//"),
        ("amqp://u:hush@a//; amqps://v:hush@b:5671//x", "amqp://u:***@a//; amqps://v:***@b:5671//x"),
        ("postgresql://u:hush/hush#hush@h/n", "postgresql://u:***@h/n"),
        ("postgresql://u:hush?hush@h/n", "***"),
        ("postgresql://h/n?sslmode=require&p%61ssword=hush@hush#hush", "***"),
        ("postgresql:///n?p%61ssword=hush@hush#hush", "postgresql:///n?p%61ssword=***"),
        ("postgresql://u@h/n?sslpassword=hush&hush", "postgresql://u@h/n?sslpassword=***&***"),
        ("https://collector/v1?api_key=hush&a=b", "https://collector/v1?api_key=***&a=b"),
    ],
)
def test_of_a_secret_nothing_is_shown_that_opens_a_door(secret: str, shows: str) -> None:
    assert redacted(secret) == shows


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("PENSTOCK_WORKER_CONCURENCY", "did you mean PENSTOCK_WORKER_CONCURRENCY?"),
        ("penstock_queue", "did you mean PENSTOCK_QUEUES?"),
        ("PENSTOCK_XYZZY", "docs/reference/settings.md lists them all"),
        ("PENSTOCK_API_SERVICE_HOST", "set enableServiceLinks to false"),
        ("PENSTOCK_API_PORT_8000_TCP_ADDR", "set enableServiceLinks to false"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused_with_what_may_be_meant(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(ConfigurationError) as caught:
        refuse_unknown()

    assert str(caught.value).startswith(f"{name} is no setting of this release; ")
    assert says in str(caught.value)


def test_what_is_known_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in sorted(KNOWN):
        monkeypatch.setenv(name, "1")

    refuse_unknown()
