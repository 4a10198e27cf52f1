"""Connections that go to a checked address or nowhere, and never outlive their budget of time.

`GuardedNetwork` resolves the name, checks every address, and connects to one of those very addresses. Nothing
resolves the name a second time, so a name that changes its address between check and connection (DNS rebinding)
gains nothing.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Never, TypeAlias

import httpcore

from tasks.library.addresses import IpAddress, Resolver, is_public, resolve
from tasks.library.failures import BrokenAnswerError, TooSlowError, UnreachableError, UrlRefusedError
from tasks.library.settings import HttpSettings
from tasks.library.urls import Target

#: Given an address, a port and a number of seconds, return a connected socket; raise OSError when there is none.
Dial: TypeAlias = Callable[[IpAddress, int, float], socket.socket]

#: Addresses of one name that are tried. All are checked.
MAX_TRIED_ADDRESSES = 4


class Budget:
    """Counts down the time that a call may take; the connection has a smaller budget inside it."""

    def __init__(self, total_seconds: float, connect_seconds: float) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self._ends = self.started + total_seconds
        self._connect_ends = min(self._ends, self.started + connect_seconds)

    def left(self) -> float:
        """Return the seconds left for the call; raise `TooSlowError` when there are none."""
        return self._until(self._ends, "The answer did not come in time.")

    def left_to_connect(self) -> float:
        """Return the seconds left to be connected; raise `TooSlowError` when there are none."""
        return self._until(self._connect_ends, "No connection was made in time.")

    @staticmethod
    def _until(end: float, message: str) -> float:
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise TooSlowError(message)
        return seconds


def dial(address: IpAddress, port: int, seconds: float) -> socket.socket:
    """Return a socket connected to `address`; nothing is looked up."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4 is called 4
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((str(address), port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


class GuardedNetwork(httpcore.NetworkBackend):
    """The network as one call may see it: the checked addresses of one target."""

    def __init__(
        self, target: Target, settings: HttpSettings, budget: Budget, resolver: Resolver, dialler: Dial = dial
    ) -> None:
        """Prepare for connections to `target`; nothing is resolved yet."""
        self._target = target
        self._settings = settings
        self._budget = budget
        self._resolver = resolver
        self._dial = dialler

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the target says where to go
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the budget says how long
        local_address: str | None = None,  # noqa: ARG002 - never set
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - never set
    ) -> httpcore.NetworkStream:
        """Return a stream to one of the target's addresses.

        Raises `UrlRefusedError` when any of them may not be called, `UnreachableError` or `TooSlowError` when
        none answers.
        """
        addresses = self._checked_addresses()[:MAX_TRIED_ADDRESSES]
        for waiting, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # One silent address (a broken IPv6 route) may not use up the time of the others.
            seconds = self._budget.left_to_connect() / waiting
            try:
                connection = self._dial(address, port, seconds)
            except OSError:
                continue
            self._insist_on_peer(connection, address)
            return BudgetedStream(connection, self._budget)
        self._budget.left_to_connect()
        raise UnreachableError(f"No connection to {self._target.site}.")

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - refused, whatever it is
        timeout: float | None = None,  # noqa: ARG002 - refused, whatever it is
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - refused, whatever it is
    ) -> Never:
        """Raise `UrlRefusedError`: no URL names a unix socket."""
        raise UrlRefusedError

    def _checked_addresses(self) -> Sequence[IpAddress]:
        if self._target.address is not None:
            addresses = [self._target.address]
        else:
            addresses = resolve(self._target.host, self._resolver, self._budget.left_to_connect())
        # One bad address among good ones is how rebinding names look, so all must pass, not only the one we take.
        if not all(self._may_call(address) for address in addresses):
            raise UrlRefusedError("Penstock does not call this host.")
        return addresses

    def _may_call(self, address: IpAddress) -> bool:
        if any(address in network for network in self._settings.blocked_networks):
            return False
        return self._settings.allow_private_addresses or is_public(address)

    def _insist_on_peer(self, connection: socket.socket, address: IpAddress) -> None:
        peer = connection.getpeername()
        if ip_address(peer[0]) != address:
            connection.close()
            raise UrlRefusedError("The connection ended at another address than the one that was checked.")


class BudgetedStream(httpcore.NetworkStream):
    """A connected socket, each of whose steps takes its time from the budget."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        """Take over `connection`."""
        self._connection = connection
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the budget says how long
        """Return what has arrived; empty at the end."""
        self._connection.settimeout(self._budget.left())
        try:
            return self._connection.recv(max_bytes)
        except TimeoutError:
            raise TooSlowError("The answer did not come in time.") from None
        except OSError:
            raise BrokenAnswerError("The connection broke while the answer was read.") from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the budget says how long
        """Send all of `buffer`."""
        rest = memoryview(buffer)
        while rest:
            self._connection.settimeout(self._budget.left())
            try:
                rest = rest[self._connection.send(rest) :]
            except TimeoutError:
                raise TooSlowError("The request was not taken in time.") from None
            except OSError as broken:
                # Not ours to judge: a server may refuse a body early, and then its answer can still be read.
                raise httpcore.WriteError from broken

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the budget says how long
    ) -> httpcore.NetworkStream:
        """Return a stream in TLS, whose certificate was checked against the name in the URL."""
        try:
            self._connection.settimeout(self._budget.left_to_connect())
            secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
        except TimeoutError:
            raise TooSlowError("No connection was made in time.") from None
        except ssl.SSLCertVerificationError:
            raise UnreachableError("The server's certificate is not valid for this host.") from None
        except OSError:
            raise UnreachableError("The server does not speak TLS.") from None
        return BudgetedStream(secured, self._budget)

    def get_extra_info(self, info: str) -> Any:
        """Return nothing: each call has its own connection, so nobody asks whether it is still alive."""
