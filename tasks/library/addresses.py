"""Which addresses belong to the public internet, and what a name resolves to."""

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from tasks.library.failures import TooSlowError, UnreachableError

IpAddress: TypeAlias = IPv4Address | IPv6Address

#: Given a host name, return every address of it; raise OSError when there is none.
Resolver: TypeAlias = Callable[[str], Sequence[IpAddress]]

#: IPv4 that is not global unicast (IANA special-purpose address registry).
NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local: the metadata services
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)

#: The only IPv6 space handed out to the public so far. Everything outside it is refused without naming it:
#: `::`, `::1`, v4-mapped, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), fc00::/7, fe80::/10, ff00::/8.
GLOBAL_V6 = IPv6Network("2000::/3")

#: Parts of 2000::/3 that are not the public's.
NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments, Teredo (which embeds an IPv4 address) among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds an IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)


def is_public(address: IpAddress) -> bool:
    """Return whether `address` is global unicast and hides no IPv4 address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    return address in GLOBAL_V6 and not any(address in network for network in NOT_PUBLIC_V6)


def system_resolver(host: str) -> list[IpAddress]:
    """Return every A and AAAA address that the system's resolver knows for `host`, in its order of preference."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


def resolve(host: str, resolver: Resolver, seconds: float) -> list[IpAddress]:
    """Return the addresses of `host`, found within `seconds`.

    Raises `UnreachableError` when there is none and `TooSlowError` when the answer does not come in time.
    The resolver has no timeout of its own that we could set, so it works in a thread that is left behind
    when it is late.
    """
    answer: Future[Sequence[IpAddress]] = Future()

    def ask() -> None:
        try:
            answer.set_result(resolver(host))
        except (OSError, ValueError) as failure:
            answer.set_exception(failure)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        addresses = list(answer.result(timeout=seconds))
    except TimeoutError:
        raise TooSlowError("The host's name was not resolved in time.") from None
    except (OSError, ValueError):
        addresses = []
    if not addresses:
        raise UnreachableError("The host's name could not be resolved.")
    return addresses
