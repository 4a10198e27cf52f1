"""Ports for servers that are started again on the same one."""

import random

from deploy.stack.ports import free_port


def lasting_port() -> int:
    """Return a free port that the kernel lends to no outgoing connection: a server must find it free again."""
    return free_port(random.randrange(20_000, 30_000))
