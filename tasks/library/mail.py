"""Writes one mail and hands it to the mail server. Knows nothing of Celery."""

import smtplib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime

from pydantic import BaseModel

from jobs.errors import PermanentError
from tasks.library.failures import BrokenAnswerError, OutboundError, ServerTroubleError, UnreachableError
from tasks.library.mailbox import check_mailbox
from tasks.library.settings import SmtpSettings
from tasks.library.trust import trust

#: Answers from here on are final (RFC 5321 section 4.2.1); below, the server asks to be tried again.
PERMANENT_CODE = 500

#: Characters of a server's words that are kept.
MAX_REPLY_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail, as a job describes it."""

    sender: str | None
    """None: the setting's."""
    to: Sequence[str]
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    reply_to: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key: str
    """Makes the Message-ID, so it is the same in every attempt and receivers can drop the copies."""


class RefusedRecipient(BaseModel):
    """A recipient that the server did not take while it took others."""

    address: str
    code: int
    message: str


class MailReceipt(BaseModel):
    """What the server took."""

    message_id: str
    accepted: list[str]
    refused: list[RefusedRecipient]


def deliver(mail: Mail, settings: SmtpSettings) -> MailReceipt:
    """Hand `mail` to the server and return what it took.

    Raises `PermanentError` when the server says no for good (5xx) or to every recipient, `OutboundError` when a later
    attempt may succeed (4xx, no connection). A recipient refused among others is reported and not tried again: the
    others would get the mail twice.
    """
    sender = _sender(mail, settings)
    message = compose(mail, sender)
    recipients = list(dict.fromkeys([*mail.to, *mail.cc, *mail.bcc]))
    content = message.as_bytes()
    with _translated(), _session(settings) as server:
        refused = server.sendmail(sender, recipients, content)
    return MailReceipt(
        message_id=str(message["Message-ID"]),
        accepted=[address for address in recipients if address not in refused],
        refused=[
            RefusedRecipient(address=address, code=code, message=_words(reply))
            for address, (code, reply) in refused.items()
        ],
    )


def compose(mail: Mail, sender: str) -> EmailMessage:
    """Return the message, in characters that every mail server passes on unchanged."""
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = sender
    message["To"] = ", ".join(mail.to)
    if mail.cc:
        message["Cc"] = ", ".join(mail.cc)
    if mail.reply_to:
        message["Reply-To"] = mail.reply_to
    message["Subject"] = mail.subject
    message["Date"] = localtime()
    message["Message-ID"] = f"<{mail.key}@{sender.rpartition('@')[2]}>"
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    return message


def _sender(mail: Mail, settings: SmtpSettings) -> str:
    sender = mail.sender or settings.from_address
    if sender is None:
        raise PermanentError("The mail has no from_address, and PENSTOCK_SMTP_FROM_ADDRESS is not set.")
    return check_mailbox(sender)


@contextmanager
def _session(settings: SmtpSettings) -> Iterator[smtplib.SMTP]:
    """Lend a connection that is secured and logged in as the settings ask."""
    server = _connection(settings)
    try:
        if settings.security == "starttls":
            server.starttls(context=trust(settings.ca_file))
        if settings.username is not None and settings.password is not None:
            server.login(settings.username, settings.password.get_secret_value())
        yield server
        # The mail is taken: a server that hangs up now, or says goodbye in anger, must not have it sent again.
    finally:
        server.close()


def _connection(settings: SmtpSettings) -> smtplib.SMTP:
    if settings.security == "tls":
        context = trust(settings.ca_file)
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=context)
    return smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what smtplib raises into our errors; the order is from the particular to the general."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as refusal:
        codes = [code for code, _ in refusal.recipients.values()]
        raise _verdict(min(codes), "The mail server refused every recipient") from None
    except smtplib.SMTPServerDisconnected:
        raise BrokenAnswerError("The mail server hung up or fell silent.") from None
    except smtplib.SMTPResponseException as answer:
        raise _verdict(answer.smtp_code, "The mail server said no", _words(answer.smtp_error)) from None
    except smtplib.SMTPNotSupportedError:
        raise PermanentError("The mail server does not offer what the settings ask: STARTTLS or a login.") from None
    except OSError:
        raise UnreachableError("No connection to the mail server.") from None


def _verdict(code: int, message: str, words: str = "") -> OutboundError | PermanentError:
    text = f"{message}: {code} {words}".rstrip()
    return PermanentError(text) if code >= PERMANENT_CODE else ServerTroubleError(text)


def _words(reply: bytes | str) -> str:
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    return " ".join(text.split())[:MAX_REPLY_LENGTH]
