"""The one reading of a URL.

What this parser makes of a URL is what is connected to and sent: no second parser gets to see the text, so there is
no difference between two readings to exploit. It knows less than RFC 3986 on purpose; what it does not know it refuses.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from tasks.library.failures import UrlRefusedError

#: Longer URLs are refused. Characters; RFC 9110 section 4.1 asks for at least 8000.
MAX_URL_LENGTH = 8000

#: Longer names cannot exist. Characters, RFC 1035 section 2.3.4.
MAX_HOST_LENGTH = 253

MAX_PORT = 65535

DEFAULT_PORTS = {"http": 80, "https": 443}

#: Square brackets are not legal in a query, but half the world writes `filter[name]=x` and they harm nothing there.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<authority>[^/?]*)"
    r"(?P<path>(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*)?)"
    r"(?P<query>(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*)?)",
    re.IGNORECASE | re.ASCII,
)
_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.IGNORECASE | re.ASCII,
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
#: An ending that resolvers and browsers read as a number: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the parts of a URL that were checked."""

    scheme: Literal["http", "https"]
    host: str
    """Lower case, without brackets."""
    port: int
    path_and_query: str
    address: IPv4Address | IPv6Address | None
    """The host, when it is a literal address."""

    @property
    def host_header(self) -> str:
        """Return the value of the Host field (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def site(self) -> str:
        """Return scheme, host and port: the part of the URL that errors may name."""
        return f"{self.scheme}://{self.host_header}"


def parse_url(url: str) -> Target:
    """Return the parts of `url`.

    Raises `UrlRefusedError` for anything but a plain http or https URL: user info, a fragment, raw characters outside
    RFC 3986, an internationalised host that is not in its `xn--` form, a host that is a number in disguise.
    """
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefusedError(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if "#" in url:
        raise UrlRefusedError("The URL has a fragment, which no server would see.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise UrlRefusedError("The URL is not an absolute http or https URL with its odd characters percent-encoded.")
    if "@" in parts["authority"]:
        raise UrlRefusedError("The URL carries a user name; send an Authorization header in its place.")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise UrlRefusedError("The URL's host or port is malformed.")
    scheme: Literal["http", "https"] = "https" if parts["scheme"].lower() == "https" else "http"
    host, address = _host(authority["v6"], authority["name"])
    port = int(authority["port"] or DEFAULT_PORTS[scheme])
    if port > MAX_PORT:
        raise UrlRefusedError("The URL's port does not exist.")
    return Target(scheme, host, port, (parts["path"] or "/") + parts["query"], address)


def _host(v6: str | None, name: str | None) -> tuple[str, IPv4Address | IPv6Address | None]:
    try:
        if v6 is not None:
            literal = IPv6Address(v6)
            return str(literal), literal
        host = (name or "").lower()
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            # "2130706433", "0x7f.1" and "0177.0.0.1" all reach 127.0.0.1; only the plain dotted form is unambiguous.
            return host, IPv4Address(host)
    except AddressValueError:
        raise UrlRefusedError("The URL's host is not a name and not a plainly written address.") from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefusedError("The URL's host is not a name.")
    return host, None


def _readable(url: str) -> str:
    parse_url(url)
    return url


#: A URL that `parse_url` accepts. Whether it may be called is decided where it is called.
OutboundUrl = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_LENGTH), AfterValidator(_readable)]
