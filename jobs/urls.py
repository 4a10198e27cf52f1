"""What a URL of a server must be like, told without loading that server's driver: probes read settings too."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from pydantic import SecretStr

NO_PORT: Final = "has a port that is none; in a password write /, ?, # and @ as %2F, %3F, %23 and %40"
LARGEST_PORT: Final = 65_535

_DATABASE: Final = re.compile(
    r"(?P<name>[\w+]+)://"
    r"([^:/]*(:[^@]*)?@)?"
    r"(\[[^/?]+\]|[^/:?]+)?"
    r"(:(?P<port>[^/?]*))?"
)
"""As far as it tells a driver and a port, what SQLAlchemy takes for a URL ("Database URLs")."""


def of_postgresql(value: SecretStr) -> SecretStr:
    """Return the URL. Raises `ValueError` for one that is no PostgreSQL's."""
    url = _DATABASE.match(value.get_secret_value())
    if url is None:
        raise ValueError("is not a URL; it looks like postgresql://user:password@host:5432/name")
    port = url["port"]
    if port is not None and not (port.isdecimal() and 0 < int(port) <= LARGEST_PORT):
        raise ValueError(NO_PORT)
    if url["name"].partition("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError("must start with postgresql://")
    return value


_NEXT: Final = re.compile(r"([;,]\s*)(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
"""Between two URLs in one value: kombu takes several brokers with semicolons ("Connection Failover")."""

_PLACE: Final = re.compile(r"(\[[^\]/]*\]|[^:/\[\]]*)(:\d*)?(/|$)")
"""Host and port; with another port, a password may stand there whose @ was forgotten."""


class Parts(NamedTuple):
    """What a URL is made of; texts are as they stand in it, and together they are the whole of it."""

    scheme: str
    user: str | None
    """None: there is no login."""
    password: str | None
    place: str
    """Host, port and path."""
    query: tuple[tuple[str, str | None], ...]


def several(value: str) -> list[str]:
    """Return the URLs in `value`, at even places, and at the others what stands between them."""
    return _NEXT.split(value)


def parted(url: str) -> Parts | None:
    """Return the parts of a URL; None: it is none, or nobody can tell where a password in it ends.

    A login goes as far as the last @ before the query, because people forget to encode what is in a password, and
    SQLAlchemy takes a slash there.
    """
    scheme, is_url, rest = url.partition("://")
    front, has_query, query = rest.partition("?")
    login, at, place = front.rpartition("@")
    if not is_url or not _PLACE.match(place) or (not at and "@" in query and not front.startswith("/")):
        return None
    user, colon, password = login.partition(":")
    pairs = (one.partition("=") for one in query.split("&")) if has_query else ()
    wishes = tuple((name, value if equals else None) for name, equals, value in pairs)
    return Parts(scheme, user if at else None, password if colon else None, place, wishes)


def passwords(value: str) -> list[str]:
    """Return every password in the URLs of `value`, decoded: those of logins, and those in queries."""
    found = [one for one in map(parted, several(value)[::2]) if one is not None]
    given = [one.password for one in found]
    given += [text for one in found for name, text in one.query if "pass" in unquote(name).lower()]
    return [unquote(one) for one in given if one is not None]
