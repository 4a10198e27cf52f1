"""The one reading of a URL."""

import string
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.library.failures import UrlRefusedError
from tasks.library.urls import MAX_URL_LENGTH, Target, parse_url


@pytest.mark.parametrize(
    ("url", "target", "host_header"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/", None), "example.com"),
        ("HTTP://Example.COM:80/a/b", Target("http", "example.com", 80, "/a/b", None), "example.com"),
        ("http://a_b.example:8080?q=1", Target("http", "a_b.example", 8080, "/?q=1", None), "a_b.example:8080"),
        ("https://x.example/%7e?f[n]=?/", Target("https", "x.example", 443, "/%7e?f[n]=?/", None), "x.example"),
        ("https://xn--mller-kva.example/", Target("https", "xn--mller-kva.example", 443, "/", None), None),
        ("http://8.8.8.8:443/", Target("http", "8.8.8.8", 443, "/", IPv4Address("8.8.8.8")), "8.8.8.8:443"),
        (
            "http://[2606:4700:0::1111]/",
            Target("http", "2606:4700::1111", 80, "/", IPv6Address("2606:4700::1111")),
            None,
        ),
        ("http://[::1]:81/", Target("http", "::1", 81, "/", IPv6Address("::1")), "[::1]:81"),
        ("http://4chan.example.7up/", Target("http", "4chan.example.7up", 80, "/", None), None),
    ],
)
def test_a_plain_url_falls_into_its_parts(url: str, target: Target, host_header: str | None) -> None:
    assert parse_url(url) == target
    assert host_header is None or parse_url(url).host_header == host_header


def test_the_site_names_neither_path_nor_query() -> None:
    assert parse_url("https://example.com:8443/hooks/secret?token=secret").site == "https://example.com:8443"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/_x",
        "https:example.com",
        "https:///path",
        "https://",
        "https://exa mple.com/",
        "https://example.com\\@10.0.0.1/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com/#fragment",
        "https://example.com#@10.0.0.1/",
        "https://example.com/a b",
        "https://example.com/\r\nHost: evil",
        "https://example.com/%zz",
        "https://example.com/%0",
        "https://example.com/ü",
        "https://müller.example/",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:0080/",
        "https://example.com:65536/",
        "https://example.com:99999999/",
        "https://example.com:http/",
        "https://example.com./",
        "https://.example.com/",
        "https://a..example/",
        "https://-a.example/",
        "https://a-.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 127 + "example/",
        "https://%65xample.com/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.fe80]/",
        "https://[1.2.3.4]/",
        "https://ex[am]ple.com/",
        "https://example.com/\n",
        "https://example.com\n",
        "https://example.com/" + "a" * MAX_URL_LENGTH,
    ],
)
def test_anything_but_a_plain_url_is_refused(url: str) -> None:
    with pytest.raises(UrlRefusedError):
        parse_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.0x1",
        "127.0.0.01", "1.2.3.256", "1.2.3.4.5", "0x", "0X7F.1", "example.1", "1.1",
    ],
)  # fmt: skip
def test_a_number_in_disguise_is_refused(host: str) -> None:
    with pytest.raises(UrlRefusedError):
        parse_url(f"http://{host}/")


@given(st.text(max_size=60) | st.text(alphabet=string.printable, max_size=60))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for url in (text, "http://" + text, "https://a.example" + text):
        try:
            target = parse_url(url)
        except UrlRefusedError:
            continue
        assert target.path_and_query.startswith("/")
        assert (target.scheme + target.host + target.path_and_query).isascii()


@given(st.text(alphabet="abx019.:@/\\?#[]%-_0123456789", max_size=40))
@example("a.example:80/@b")
@example("1.2.3.4:8080?x@b:9")
def test_other_parsers_find_the_same_host_in_a_url_that_is_accepted(text: str) -> None:
    url = "http://" + text
    try:
        target = parse_url(url)
    except UrlRefusedError:
        return

    theirs = urlsplit(url)
    assert (theirs.username, theirs.fragment) == (None, "")
    assert theirs.port in {target.port, None}
    if target.address is None:
        assert theirs.hostname == target.host
        if "_" not in target.host and "xn--" not in target.host and "--" not in target.host:
            assert httpx.URL(url).host == target.host
    else:
        assert type(target.address)(theirs.hostname or "") == target.address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/#top", "fragment"),
        ("https://user@example.com/", "user name"),
        ("https://example.com:70000/", "port"),
        ("https://0x7f.1/", "plainly written address"),
        ("https://example.com/a b", "percent-encoded"),
    ],
)
def test_a_refusal_says_what_to_mend(url: str, reason: str) -> None:
    with pytest.raises(UrlRefusedError, match=reason):
        parse_url(url)
