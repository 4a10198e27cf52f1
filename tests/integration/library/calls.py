"""Short ways to make a request, and a port that nobody listens to."""

import socket
from typing import Any, Final

from tasks.library.outbound import Call, HttpAnswer, send
from tasks.library.settings import HttpSettings

OPEN: Final = HttpSettings(allow_private_addresses=True)


def call(url: str, **facts: Any) -> HttpAnswer:
    """Make a request, also to an address of this machine, and return the answer."""
    return send(Call(url=url, **{"timeout_seconds": 10, **facts}), OPEN)


def closed_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
