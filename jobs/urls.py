"""What a URL of a server must be like, told without loading that server's driver: probes read settings too."""

import re
from typing import Final

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
