"""A mail server that refuses what it is told to refuse."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Faults:
    """What goes wrong; empty means nothing."""

    recipients: dict[str, str] = field(default_factory=dict)
    """Answers to RCPT by address."""
    sender: str | None = None
    """Answer to MAIL."""
    data: str | None = None
    """Answer to the message."""
    hang_up: bool = False
    """Close the connection when the message arrives."""
    hang_up_after: bool = False
    """Take the message, then close the connection at the goodbye."""


@dataclass(frozen=True)
class Received:
    """A mail that the server took."""

    sender: str
    recipients: list[str]
    content: bytes
    in_tls: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        """Return the mail, parsed."""
        parsed = message_from_bytes(self.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class MailServer(Controller):  # type: ignore[misc]  # aiosmtpd ships no types
    """Listens on a port of its own; `inbox` has what was taken."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None) -> None:
        """Prepare to listen on loopback: in TLS from the first byte, on demand, or never."""
        self.inbox: list[Received] = []
        self.faults = Faults()
        self.connections = 0
        super().__init__(
            self,
            hostname="127.0.0.1",
            port=0,
            ssl_context=tls,
            tls_context=starttls,
            authenticator=_authenticate,
            auth_require_tls=tls is None,  # aiosmtpd does not count TLS from the first byte as TLS
        )

    def factory(self) -> SMTP:
        """Count the connection."""
        self.connections += 1
        return super().factory()

    def _trigger_server(self) -> None:
        # The port is the system's choice, so it is known only now.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    async def handle_MAIL(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the sender, or not."""
        if self.faults.sender:
            return self.faults.sender
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the recipient, or not."""
        if address in self.faults.recipients:
            return self.faults.recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Take the mail, or not."""
        if self.faults.hang_up:
            assert server.transport is not None
            server.transport.abort()
            return "421 Bye"
        if self.faults.data:
            return self.faults.data
        content = envelope.content
        assert isinstance(content, bytes)
        login = session.auth_data.login.decode() if session.auth_data else None
        in_tls = session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
        self.inbox.append(Received(str(envelope.mail_from), list(envelope.rcpt_tos), content, in_tls, login))
        return "250 Taken"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Say goodbye, or slam the door."""
        if self.faults.hang_up_after:
            assert server.transport is not None
            server.transport.abort()
        return "221 Bye"


def _authenticate(server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ada", b"correct horse")
    return AuthResult(success=good, handled=good, auth_data=data)


@contextmanager
def running_mail_server(
    *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None
) -> Iterator[MailServer]:
    """Lend a server that listens."""
    server = MailServer(tls=tls, starttls=starttls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
