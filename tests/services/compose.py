"""docker-compose.yml as it is read, anchors resolved, and who in it is what."""

import re
from functools import cache
from typing import Any, Final

import yaml

from deploy.stack.home import ROOT

FILE: Final = ROOT / "docker-compose.yml"
DEVELOPING: Final = ROOT / "docker-compose.dev.yml"
VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
"""A variable of compose: its name, whether it has a default or must be set, and the default or why."""


@cache
def composition(file: str = FILE.name) -> dict[str, Any]:
    """Return one of the files."""
    found: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    """Return every service by its name."""
    found: dict[str, dict[str, Any]] = composition()["services"]
    return found


def roles() -> dict[str, dict[str, Any]]:
    """Return the services that run Penstock's own image."""
    return {name: one for name, one in services().items() if "IMAGE_NAME" in one["image"]}


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Return what a service is told by name."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def networks(service: dict[str, Any]) -> set[str]:
    """Return the networks that a service is in."""
    return set(service.get("networks", ()))


def aliases(name: str) -> set[str]:
    """Return the names under which others find a service."""
    places = services()[name]["networks"]
    own = (
        {alias for place in places.values() for alias in place.get("aliases", ())}
        if isinstance(places, dict)
        else set()
    )
    return {name, *own}


def secrets(service: dict[str, Any]) -> set[str]:
    """Return the secrets that are mounted into a service."""
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}


def variables(file: str = FILE.name) -> dict[str, tuple[str, str]]:
    """Return the variables that a file takes from .env: what they are, and their default or why they must be set."""
    text = "\n".join(line for line in (ROOT / file).read_text().splitlines() if not line.lstrip().startswith("#"))
    return {name: (sign, rest) for name, sign, rest in VARIABLE.findall(text)}
