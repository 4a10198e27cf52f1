"""Writes .env.example from docker-compose.yml and the settings: `python -m tests.unit.docs.env_example`."""

import textwrap
from collections.abc import Iterator
from typing import Final

from deploy.stack.home import ROOT
from tests.services import compose, dockerfile
from tests.unit.docs.settings_page import CLASSES, Row, first_line, rows

FILE: Final = ROOT / ".env.example"
WIDTH: Final = 118

HEAD: Final = """\
# Copy this to .env and change what is to be another: docker-compose.yml takes its own variables from there, and passes
# all of it to Penstock's processes. Made by `python -m tests.unit.docs.env_example`.
#
# No secret belongs here: those are files, which deploy/compose/make_secrets.py makes.
"""

#: Variables of docker-compose.yml itself: an example of what must be set, and what each is.
OWN: Final = {
    "COMPOSE_PROFILES": ("rabbitmq", "The broker that runs and is used: rabbitmq or valkey"),
    "GATEWAY_HOST": ("penstock.example.com", "The name under which people reach the gateway"),
    "GATEWAY_HTTP_PORT": ("", "The gateway's port for plain HTTP, which only sends people on to HTTPS"),
    "GATEWAY_HTTPS_PORT": ("", "The gateway's port for HTTPS, which people add to its name; 443 is left unset"),
    "IMAGE_NAME": ("", "Penstock's image, as your registry names it; without a registry it is built here"),
    "IMAGE_TAG": ("", "The release that runs"),
    "PROMETHEUS_RETENTION_SIZE": ("", "Prometheus forgets the oldest when its data is larger than this"),
    "SECRETS_FOLDER": ("", "The folder of the secrets' files"),
    "WORKERS": ("", "Workers of the queue default"),
    "WORKERS_BULK": ("", "Workers of the queue bulk"),
    "WORKERS_CRITICAL": ("", "Workers of the queue critical"),
}

#: Settings that a file which is mounted as it is names too, and which file that is.
FIXED: Final = {
    "PENSTOCK_API_PORT": "the gateway and Prometheus look for the API there",
    "FLOWER_PORT": "the gateway looks for Flower there",
    "PENSTOCK_FLOWER_PREFIX": "the gateway passes on what begins so",
}


def text() -> str:
    """Return the file as compose and the code are now."""
    parts = [HEAD, section("docker-compose.yml", "What the composition itself is told."), *own()]
    fixed = told()
    for title, settings, readers in CLASSES:
        parts.append(section(title.replace("`", ""), f"{first_line(settings)} Read by: {readers}.".replace("`", "")))
        parts += [entry(row, fixed) for row in rows(settings)]
    return "\n".join(parts)


def section(title: str, about: str) -> str:
    """Return the head of a section."""
    return f"# --- {title} " + "-" * (WIDTH - len(title) - 7) + f"\n# {about}\n"


def own() -> Iterator[str]:
    """Yield the entries of compose's own variables, those first that must be set."""
    for name, (sign, rest) in sorted(compose.variables().items(), key=lambda item: (item[1][0] != "?", item[0])):
        example, meaning = OWN[name]
        value = f"{name}={example}" if sign == "?" else f"# {name}={rest}"
        yield f"{comment(meaning + ('. Must be set' if sign == '?' else ''))}{value}\n"


def told() -> set[str]:
    """Return the variables that are set for every role by compose or by the image."""
    of_compose = [set(compose.environment(role)) for role in compose.roles().values()]
    return set.union(*of_compose) | set(dockerfile.environment(dockerfile.LAST))


def entry(row: Row, fixed: set[str]) -> str:
    """Return one setting, commented out with its default."""
    name = row.names[0]
    note = ""
    if {name, f"{name}_FILE"} & fixed:
        note = ". Set in docker-compose.yml or in the image"
    elif name in FIXED:
        note = f". Left as it is with docker-compose.yml: {FIXED[name]}"
    elif "secret" in row.kind:
        note = f". A secret: mount it as a file, and set {name}_FILE"
    default = row.default.strip("`") if row.default.startswith("`") else ""
    return f"{comment(f'{row.meaning} ({row.kind}){note}'.replace('`', ''))}# {name}={default}\n"


def comment(words: str) -> str:
    """Return words as lines of comment."""
    return (
        textwrap.fill(f"{words}.", WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False) + "\n"
    )


if __name__ == "__main__":
    FILE.write_text(text())
