"""Where a process is to listen, looked at before it serves: a place that cannot be had is told in one line."""

import errno
import socket
from contextlib import closing

from jobs.errors import ConfigurationError


def look_at_place(host: str, port: int, *, host_variable: str, port_variable: str) -> None:
    """Return when a server could listen there at this moment; port 0 is any that is free.

    Raises `ConfigurationError`, which names the setting that is wrong. Nothing holds the place: who loses it between
    this look and its serving ends by the server's own words.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigurationError(f"{host_variable}: {host} is no address of this machine; correct it.") from None
    for family, kind, protocol, _, address in found:
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is not taken
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise _told(error, host, port, host_variable, port_variable) from None


def _told(error: OSError, host: str, port: int, host_variable: str, port_variable: str) -> ConfigurationError:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigurationError(f"{host_variable}: {host} is no address of this machine; correct it.")
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(f"{port_variable}: {place} is taken; end who listens there, or take another port.")
    if error.errno == errno.EACCES:
        return ConfigurationError(f"{port_variable}: {place} is not for this user; take a port from 1024 on.")
    return ConfigurationError(f"{host_variable}: {place} cannot be listened at: {error.strerror or error}.")
