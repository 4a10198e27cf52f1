"""Servers for the tests of the tasks that ship."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.certificates import Certificate, make_certificate, openssl_is_installed
from tests.servers.smtp import MailServer, running_mail_server
from tests.servers.web import WebServer, running_web_server


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Lend a web server with faults to order."""
    with running_web_server() as server:
        yield server


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """Lend a mail server with faults to order, in clear."""
    with running_mail_server() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a certificate for `web.test` and `localhost`."""
    if not openssl_is_installed() and not os.environ.get("CI"):
        pytest.skip("openssl is not installed, so there is no certificate to test TLS with")
    return make_certificate(tmp_path_factory.mktemp("certificate"), "web.test", "localhost")
