"""Which addresses are the public's, and how names become addresses."""

import threading
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.library.addresses import is_public, resolve, system_resolver
from tasks.library.failures import TooSlowError, UnreachableError


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.0.1", "100.128.0.1",
     "192.0.1.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "2003::1"],
)  # fmt: skip
def test_global_unicast_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "0.255.255.255", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255",
     "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1",
     "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
     "255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1",
     "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1", "2001:db8::1",
     "2002:808:808::1", "3fff::1", "4000::1", "5f00::1"],
)  # fmt: skip
def test_everything_else_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_we_call_public_the_standard_library_calls_global(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_that_carries_an_ipv4_address_is_public(inner: IPv4Address) -> None:
    number = int(inner)
    carriers = [
        IPv6Address(number),
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80) | 1),
        IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    ]

    assert not any(is_public(carrier) for carrier in carriers)


def test_the_system_resolver_knows_localhost() -> None:
    found = system_resolver("localhost")

    assert found
    assert all(address.is_loopback for address in found)
    assert len(set(found)) == len(found)


def test_a_name_without_addresses_cannot_be_reached() -> None:
    def fails(host: str) -> list[IPv4Address]:
        raise OSError("no such name")

    with pytest.raises(UnreachableError):
        resolve("nowhere.example", fails, 5)
    with pytest.raises(UnreachableError):
        resolve("nowhere.example", lambda host: [], 5)


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    release = threading.Event()

    def hangs(host: str) -> list[IPv4Address]:
        release.wait(10)
        return [IPv4Address("8.8.8.8")]

    with pytest.raises(TooSlowError):
        resolve("slow.example", hangs, 0.05)
    release.set()
