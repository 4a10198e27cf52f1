"""Addresses and header fields of mail, as strictly as a machine may be asked to write them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

#: Characters before and after the `@` (RFC 5321 section 4.5.3.1).
MAX_LOCAL_LENGTH = 64
MAX_DOMAIN_LENGTH = 253

#: `?` is legal but kept out: with it a local part could be read as an encoded word and hide a line break.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+)*", re.ASCII)
_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*", re.ASCII
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: Fields that the message gets from elsewhere in the payload, or that only mail servers may write.
OWN_HEADERS = frozenset(
    {
        "bcc",
        "cc",
        "date",
        "dkim-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
    }
)


def check_mailbox(address: str) -> str:
    """Return `address` if it is a plain `local@domain` in ASCII; raise ValueError if not."""
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError("not a plain mail address, such as ada@example.com")
    if len(local) > MAX_LOCAL_LENGTH or len(domain) > MAX_DOMAIN_LENGTH:
        raise ValueError("the mail address is too long")
    return address


def check_header_text(text: str) -> str:
    """Return `text` if it fits on one header line; raise ValueError if it could begin another."""
    if _CONTROL.search(text):
        raise ValueError("a header field has no line breaks or control characters")
    if "=?" in text:
        raise ValueError("a header field is written in plain Unicode, not in encoded words")
    return text


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return `headers` if they are all the caller's to set; raise ValueError if not."""
    names = [name.lower() for name in headers]
    taken = {name for name in names if name in OWN_HEADERS or name.startswith(("content-", "resent-"))}
    if taken:
        raise ValueError(f"these header fields are not the caller's to set: {', '.join(sorted(taken))}")
    if len(set(names)) < len(names):
        raise ValueError("a header field is given twice")
    return headers


Mailbox = Annotated[str, StringConstraints(min_length=3, max_length=320), AfterValidator(check_mailbox)]
Mailboxes = Annotated[list[Mailbox], Field(min_length=1, max_length=100)]
HeaderText = Annotated[str, StringConstraints(max_length=900), AfterValidator(check_header_text)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,76}$")]
MailHeaders = Annotated[dict[HeaderName, HeaderText], Field(max_length=32), AfterValidator(check_headers)]
