"""Ports of 127.0.0.1: which are free, and which to take."""

import contextlib
import socket

LOOPBACK = "127.0.0.1"
STEPS = 50


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 at this moment.

    SO_REUSEADDR is set as servers set it, so that connections in TIME_WAIT do not count as taken.
    """
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Name a port that is free now: `preferred`, one of the fifty after it, or any.

    Nothing holds it: who listens next has it. A caller starts its server at once and tries again when it lost.
    """
    if preferred is not None:
        for port in range(preferred, min(preferred + STEPS, 65536)):
            if is_free(port):
                return port
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
