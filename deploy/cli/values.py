"""From what people type to what the API takes: payloads, durations, instants."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import typer

_UNITS: Final = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd]?)", re.ASCII)
_SEVERAL: Final = re.compile(r"(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?s)?(?:\d+ms)?", re.ASCII)
"""The largest unit first, each once."""


def given(**wanted: Any) -> dict[str, Any]:
    """Return what was given: all that is not None."""
    return {name: value for name, value in wanted.items() if value is not None}


def payload(text: str | None, file: Path | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the payload: the JSON object of `text` or `file`, with each ``key=value`` of `pairs` put into it.

    Raises `typer.BadParameter`.
    """
    if text is not None and file is not None:
        raise typer.BadParameter("--payload and --payload-file exclude each other")
    if file is not None:
        text = _read(file)
    found = {} if text is None else _object(text)
    return found | dict(pair(one) for one in pairs)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"the payload is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter('the payload must be a JSON object, such as {"message": "hello"}')
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is unknown to JSON")


def pair(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``key=value``: JSON where it reads as such, otherwise text.

    Raises `typer.BadParameter`.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not key=value")
    try:
        return name, json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return name, value


def duration(text: str) -> float:
    """Return the seconds of ``90``, ``1.5s``, ``250ms``, ``10m``, ``1h30m`` or ``1d``. Raises `typer.BadParameter`."""
    text = text.strip()
    if not text or not (_DURATION.fullmatch(text) or _SEVERAL.fullmatch(text)):
        raise typer.BadParameter(f"{text!r} is no duration; write 90, 250ms, 10m, 1h30m or 1d")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def instant(text: str) -> str:
    """Return an ISO 8601 instant with its offset; one that names none is this machine's time.

    Raises `typer.BadParameter`.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2030-01-31T18:00 or 2030-01-31T18:00Z") from None
    return (found if found.tzinfo else found.astimezone()).isoformat()
