"""Which API a command talks to, and with which key.

The address: ``--url``, else PENSTOCK_API_URL, else the running local stack's. The key: ``--key-file``, else
PENSTOCK_API_KEY or the file that PENSTOCK_API_KEY_FILE names, else the local stack's, which goes to that stack alone.
A key never stands on a command line, where every user of the machine could read it.
"""

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.cli.errors import CommandError
from deploy.stack.home import Home
from jobs.environment import FILE_SUFFIX, present, secret_from_file

URL_VARIABLE: Final = "PENSTOCK_API_URL"
KEY_VARIABLE: Final = "PENSTOCK_API_KEY"
START_ONE: Final = (
    f"Start one with `make run` (or `penstock up --detach`), or say where it is: --url or {URL_VARIABLE}."
)
LARGEST_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """An API, how it was found, and the key that opens it."""

    url: str
    source: str
    key: str = field(repr=False)


def find_target(url: str | None, key_file: Path | None) -> Target:
    """Return the API to talk to. Raises `CommandError` that names what was looked at."""
    stack = read_stack()
    address, source = _address(url, stack)
    return Target(address, source, _key(key_file, stack, address))


def _address(url: str | None, stack: "dict[str, Any] | None") -> tuple[str, str]:
    if url is not None:
        return _checked(url, "--url"), "--url"
    if named := os.environ.get(URL_VARIABLE):
        return _checked(named, URL_VARIABLE), URL_VARIABLE
    if stack:
        return _checked(stack["api_url"], stack["stack_file"]), stack["stack_file"]
    looked = ", ".join(str(file) for file in stack_files())
    raise CommandError(f"No API is known: no --url, no {URL_VARIABLE}, no local stack in {looked}.", cure=START_ONE)


def _checked(url: str, source: str) -> str:
    cure = "Write it like http://127.0.0.1:8000 or https://penstock.example.com."
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CommandError(f"The address in {source} is no URL: {error}.", cure=cure) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise CommandError(f"The address in {source} must start with http:// or https://.", cure=cure)
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise CommandError(f"The address in {source} holds more than a server and a path.", cure=cure)
    return str(parsed).rstrip("/")


def _key(key_file: Path | None, stack: "dict[str, Any] | None", address: str) -> str:
    if key_file is not None:
        return _plain(read_private(key_file), str(key_file))
    if kept := secret_from_file(KEY_VARIABLE, present()):
        return _plain(kept, KEY_VARIABLE + FILE_SUFFIX)
    if given := os.environ.get(KEY_VARIABLE):
        return _plain(given, KEY_VARIABLE)
    if stack and stack["api_url"].rstrip("/") == address:
        return _plain(stack["api_key"], stack["stack_file"])
    raise CommandError(
        f"No API key for {address}.",
        cure=f"Set {KEY_VARIABLE}, or name a file with --key-file; `penstock keys create` makes a key.",
    )


def _plain(key: str, source: str) -> str:
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CommandError(f"What is in {source} is no API key.", cure="A key is one line that starts with pns_.")
    return key


def stack_files() -> list[Path]:
    """Return where a local stack would leave its facts: PENSTOCK_HOME alone, or this folder and the checkout."""
    if os.environ.get("PENSTOCK_HOME"):
        return [Home().stack_file]
    return list(dict.fromkeys([Path.cwd() / ".run" / "stack.json", Home().stack_file]))


def read_stack() -> dict[str, Any] | None:
    """Return the facts of the local stack that runs; None when there is none.

    Raises `CommandError` when others could have read them, or wrote them.
    """
    file = next((file for file in stack_files() if file.exists()), None)
    if file is None:
        return None
    text = read_private(file)
    try:
        facts = json.loads(text)
        needed = {name: str(facts[name]) for name in ("api_url", "api_key")}
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{file} is damaged.", cure="`penstock stop` and `penstock up` make it anew.") from None
    return {"database_url": None, **facts, **needed, "stack_file": str(file)}


def read_private(file: Path) -> str:
    """Return the text of a file that holds a secret.

    Raises `CommandError` when it cannot be read, when its mode lets others at it, or when it is another user's.
    """
    try:
        with file.open("rb") as opened:
            facts = os.fstat(opened.fileno())
            text = opened.read(LARGEST_BYTES)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise CommandError(f"{file} holds a key and others may read it.", cure=f"Run: chmod 600 {file}")
    if facts.st_uid != os.geteuid():
        raise CommandError(f"{file} belongs to another user.", cure=f"Set {URL_VARIABLE} and {KEY_VARIABLE} instead.")
    return text.decode("utf-8", "replace")
