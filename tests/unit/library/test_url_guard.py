"""No URL of the corpus makes a connection. Asserted at the socket."""

from ipaddress import ip_address

import pytest

from tasks.library.addresses import IpAddress
from tasks.library.connection import Budget, GuardedNetwork
from tasks.library.failures import UrlRefusedError
from tasks.library.outbound import Call, send
from tasks.library.settings import HttpSettings
from tasks.library.urls import parse_url
from tests.servers.sockets import watched_connections

#: What the names of the corpus resolve to.
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localtest.example": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "router.example": ["192.168.1.1"],
    "ten.example": ["10.1.2.3"],
    "cgnat.example": ["100.100.100.200"],
    "v6.example": ["fd00::1"],
    "link.example": ["fe80::1%eth0"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "nat64.example": ["64:ff9b::a00:1"],
    "6to4.example": ["2002:a00:1::1"],
    "teredo.example": ["2001:0:53aa:64c:0:0:f5ff:fffe"],
    "any.example": ["0.0.0.0"],
    "broadcast.example": ["255.255.255.255"],
    "half-good.example": ["93.184.215.14", "10.0.0.1"],
    "half-good-v6.example": ["93.184.215.14", "::1"],
    "last-of-many.example": [*[f"93.184.215.{last}" for last in range(1, 9)], "127.0.0.1"],
    "public.example": ["93.184.215.14"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
}

CORPUS = [
    # literal addresses
    "http://127.0.0.1/", "http://127.0.0.1:8080/admin", "https://127.0.0.1/", "http://127.255.255.254/",
    "http://0.0.0.0/", "http://0.0.0.1/", "http://10.0.0.1/", "http://10.255.255.255/", "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/", "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.0.0.192/",
    "http://192.168.0.1/", "http://198.18.0.1/", "http://198.19.0.1/", "http://224.0.0.1/", "http://240.0.0.1/",
    "http://255.255.255.255/", "http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[fc00::1]/",
    "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[ff02::1]/", "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/", "http://[2002:7f00:1::]/", "http://[2001:0:53aa:64c::1]/", "http://[2001:db8::1]/",
    # numbers in disguise
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.0x0.0x0.0x1/", "http://017700000001/",
    "http://0177.0.0.1/", "http://127.1/", "http://127.0.1/", "http://0/", "http://00/", "http://0x0/",
    "http://3232235521/", "http://127.0.0.1./", "http://127.000.000.001/", "http://0xA9FEA9FE/", "http://169.254.43518/",
    # other letters and escapes
    "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://\uff11\uff12\uff17.0.0.1/", "http://ⓛocalhost/",
    "http://%31%32%37.0.0.1/", "http://127.0.0.1%00.example.com/", "http://localhost%2f.example.com/",
    # user info, and parsers at odds
    "http://public.example@127.0.0.1/", "http://127.0.0.1@public.example/", "http://public.example:80@127.0.0.1/",
    "http://public.example#@127.0.0.1/", "http://127.0.0.1#@public.example/", "http://public.example\\@127.0.0.1/",
    "http://127.0.0.1\\@public.example/", "http://public.example:80#@127.0.0.1:80/", "http://127.1.1.1:80\\@127.2.2.2:80/",
    "http:///127.0.0.1/", "http:127.0.0.1/", "http:\\\\127.0.0.1/", "http://[::1%25lo]/", "http://[::1]x/",
    "http://public.example /", "http://public.example\t/", "http://public.example\n127.0.0.1/", "\thttp://public.example/",
    # other schemes
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:6379/", "ftp://public.example/",
    "ldap://127.0.0.1/", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "data:text/plain,x",
    "jar:http://127.0.0.1!/", "ws://public.example/", "javascript:alert(1)",
    # ports that are not the web's
    "http://public.example:22/", "http://public.example:25/", "http://public.example:6379/", "http://public.example:5432/",
    "http://public.example:0/", "http://public.example:65616/", "http://public.example:080/",
    # names
    *[f"http://{name}/" for name in NAMES if name != "public.example"],
    "https://localhost/", "http://LOCALHOST/", "http://localhost./", "http://LocalTest.Example:8080/",
]  # fmt: skip


def resolver(host: str) -> list[IpAddress]:
    return [ip_address(address) for address in NAMES[host]]


def test_the_corpus_is_large() -> None:
    assert len(set(CORPUS)) >= 100


@pytest.mark.parametrize("url", CORPUS)
def test_a_url_that_leads_inside_connects_to_nothing(url: str) -> None:
    with watched_connections() as connected, pytest.raises(UrlRefusedError) as refusal:
        send(Call(url=url), HttpSettings(), resolver=resolver)

    assert connected == []
    assert "127.0.0.1" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://public.example/", "http://93.184.215.14/", "https://public.example:8443/x?y"])
def test_a_public_url_is_dialled_at_the_address_that_was_checked(url: str) -> None:
    dialled: list[tuple[IpAddress, int]] = []

    def refuse(address: IpAddress, port: int, seconds: float) -> None:
        dialled.append((address, port))
        raise ConnectionRefusedError

    with pytest.raises(Exception, match="No connection"):
        send(Call(url=url), HttpSettings(), resolver=resolver, dialler=refuse)  # type: ignore[arg-type]  # never returns

    assert dialled == [(ip_address("93.184.215.14"), 8443 if ":8443" in url else 80)]


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (HttpSettings(allowed_hosts=frozenset({"api.example", "*.good.example"})), "http://public.example/"),
        (HttpSettings(allowed_hosts=frozenset({"*.good.example"})), "http://good.example/"),
        (HttpSettings(allowed_hosts=frozenset({"*.example"})), "http://93.184.215.14/"),
        (HttpSettings(allowed_ports=frozenset({443})), "http://public.example/"),
        (HttpSettings(allowed_ports=frozenset({443}), allow_private_addresses=True), "http://127.0.0.1:80/"),
        (HttpSettings(blocked_networks=("93.184.0.0/16",)), "http://public.example/"),
        (HttpSettings(blocked_networks=("127.0.0.0/8",), allow_private_addresses=True), "http://127.0.0.1/"),
    ],
)
def test_the_settings_can_close_more(settings: HttpSettings, url: str) -> None:
    with watched_connections() as connected, pytest.raises(UrlRefusedError):
        send(Call(url=url), settings, resolver=resolver)

    assert connected == []


@pytest.mark.parametrize("host", ["api.example", "API.example", "a.good.example", "a.b.good.example"])
def test_a_listed_host_passes_the_list(host: str) -> None:
    settings = HttpSettings(allowed_hosts=frozenset({"Api.example", "*.good.example"}))
    asked: list[str] = []

    def note(name: str) -> list[IpAddress]:
        asked.append(name)
        return [ip_address("10.0.0.1")]

    with pytest.raises(UrlRefusedError):
        send(Call(url=f"http://{host}/"), settings, resolver=note)

    assert asked == [host.lower()]


def test_no_unix_socket_is_connected_to() -> None:
    settings = HttpSettings(allow_private_addresses=True)
    network = GuardedNetwork(parse_url("http://localhost/"), settings, Budget(1, 1), resolver)

    with watched_connections() as connected, pytest.raises(UrlRefusedError):
        network.connect_unix_socket("/var/run/docker.sock")

    assert connected == []
