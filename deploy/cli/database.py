"""`penstock migrate` and `penstock keys`: what works on the database itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from deploy.cli import options, screen, views
from deploy.cli.errors import NOT_SUCCEEDED, CommandError
from deploy.cli.target import read_stack
from deploy.stack.options import DATABASE_VARIABLES
from deploy.stack.server import write_private
from jobs import keys
from jobs.database import DatabaseSettings, open_engine, reading, transaction
from jobs.environment import FILE_SUFFIX
from jobs.migrations.running import bring
from jobs.misconfiguration import told
from jobs.model import DEFAULT_TENANT
from jobs.startup import starting

app = typer.Typer()
key_commands = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(key_commands, name="keys", help="Make, list and revoke API keys.", rich_help_panel=options.OPERATIONS)

FIND_ONE = "Set DATABASE_URL to postgresql://user@host:5432/name, or start a local stack with `make run`."


@contextmanager
def database() -> Iterator[Engine]:
    """Give the database of DATABASE_URL, else the local stack's. Raises `CommandError`."""
    engine = open_engine(_settings(), application_name="penstock-cli", pool_size=1)
    try:
        yield engine
    except DBAPIError as error:
        raise CommandError(
            f"PostgreSQL refused: {str(error.orig).splitlines()[0]}.", cure="Is the schema there? `penstock migrate`."
        ) from None
    finally:
        engine.dispose()


def _settings() -> DatabaseSettings:
    try:
        if any(os.environ.get(name) or os.environ.get(name + FILE_SUFFIX) for name in DATABASE_VARIABLES):
            return DatabaseSettings()
        stack = read_stack()
        if stack and stack["database_url"]:
            return DatabaseSettings(database_url=SecretStr(stack["database_url"]))
    except ValidationError as error:
        raise CommandError(f"{told(error)}.", cure=FIND_ONE) from None
    raise CommandError("No database is known.", cure=FIND_ONE)


@app.command(
    rich_help_panel=options.OPERATIONS, epilog=options.examples("penstock migrate --check", "penstock migrate")
)
def migrate(
    *, check: Annotated[bool, typer.Option("--check", help="Only tell; exit code 1 when there is work to do")] = False
) -> None:
    """Bring the database's schema to this release's.

    Several at once do no harm: one does the work. A later release's schema suits this one, and is left as it is.
    """
    settings = _settings()
    with starting("The migration"):
        brought = bring(settings, check=check)
    screen.say(brought.told)
    raise typer.Exit(0 if brought.fits else NOT_SUCCEEDED)


@key_commands.command(
    "create",
    epilog=options.examples(
        "penstock keys create --name ci",
        "penstock keys create --name billing --tenant acme --save billing.key",
        "penstock jobs --key-file billing.key",
    ),
)
def create_key(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="Whose it is, for people", show_default=False)],
    tenant: Annotated[str, typer.Option(metavar="TENANT", help="Whose jobs it opens")] = DEFAULT_TENANT,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, mode 0600, and do not print it")
    ] = None,
) -> None:
    """Make an API key and print it, this once: only a digest of it is stored."""
    if not name.strip() or not tenant.strip():
        raise typer.BadParameter("a name and a tenant have at least one letter")
    if save is not None and save.exists():
        raise CommandError(f"{save} exists already.", cure="Name a new file.")
    with database() as engine, transaction(engine) as connection:
        key = keys.create_key(connection, name=name.strip(), tenant=tenant.strip())
        if save is not None:
            _save(save, key)
    if save is None:
        screen.say(key)
        screen.note("Keep it now; it cannot be shown again.")


def _save(file: Path, key: str) -> None:
    """Write the key; inside the transaction, so that no key exists that nobody has."""
    try:
        write_private(file, key + "\n")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None


@key_commands.command("revoke", epilog=options.examples("penstock keys revoke 3f9c1a0b52d7e884"))
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `penstock keys list` shows it", show_default=False)],
) -> None:
    """Refuse an API key from now on; every API process knows of it within 5 seconds."""
    with database() as engine, transaction(engine) as connection:
        keys.revoke_key(connection, key_id)
    screen.note(f"Revoked {key_id}.")


@key_commands.command("list", epilog=options.examples("penstock keys list", "penstock keys list --json"))
def list_keys(*, json: options.AsJson = False) -> None:
    """List the API keys, newest first: id, name, tenant, created_at, revoked_at. Secrets are not known."""
    with database() as engine, reading(engine) as connection:
        found = [_facts(record) for record in keys.list_keys(connection)]
    if json:
        for facts in found:
            screen.dump(facts)
        return
    rows = ([views.at(value) if name.endswith("_at") else value for name, value in facts.items()] for facts in found)
    screen.table(("id", "name", "tenant", "created_at", "revoked_at"), rows, empty="No keys.")


def _facts(record: keys.KeyRecord) -> dict[str, str | None]:
    facts = asdict(record)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
