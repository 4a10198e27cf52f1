"""How a mail is written."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import PermanentError
from tasks.library.mail import Mail, compose, deliver
from tasks.library.mailbox import check_header_text, check_headers, check_mailbox
from tasks.library.settings import SmtpSettings

KEY = "018f8f5e-0000-7000-8000-000000000000"


def written(mail: Mail, sender: str = "penstock@example.com") -> EmailMessage:
    parsed = message_from_bytes(compose(mail, sender).as_bytes(), policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def mail(**facts: object) -> Mail:
    known: dict[str, object] = {"sender": None, "to": ["ada@example.com"], "subject": "s", "text": "t", "key": KEY}
    return Mail(**{**known, **facts})  # type: ignore[arg-type]  # the tests name real fields


@pytest.mark.parametrize("address", ["ada@example.com", "a.b+c@x-y.example", "root@localhost", "o'neil@example.com"])
def test_a_plain_address_is_taken(address: str) -> None:
    assert check_mailbox(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "ada", "@example.com", "ada@", "a b@example.com", "ada@exa mple.com", "ada@example.com\n",
     "ada\r\n@example.com", "<ada@example.com>", "Ada <ada@example.com>",
     "ada@example.com,eve@example.com", '"a"@example.com', "ada@[10.0.0.1]",
     ".ada@example.com", "a..b@example.com", "ada@example..com", "ada@-example.com", "adä@example.com",
     "=?utf-8?q?=0d=0a?=@example.com", "a" * 65 + "@example.com", "ada@" + "a." * 126 + "example"],
)  # fmt: skip
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="mail address"):
        check_mailbox(address)


@given(st.text(max_size=80))
def test_a_header_that_is_taken_never_becomes_two(text: str) -> None:
    try:
        check_header_text(text)
    except ValueError:
        return

    message = written(mail(subject=text, headers={"X-Note": text}))

    assert set(message) == {"From", "To", "Subject", "Date", "Message-ID", "X-Note", "Content-Type",
                            "Content-Transfer-Encoding", "MIME-Version"}  # fmt: skip
    assert len(message.keys()) == 9
    assert message["Subject"].split() == text.split()


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b", "=?utf-8?q?=0aBcc:?="])
def test_text_that_could_begin_another_header_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="header field"):
        check_header_text(text)


@pytest.mark.parametrize("name", ["Bcc", "FROM", "Message-Id", "Content-Type", "Resent-To", "dkim-signature"])
def test_headers_that_are_not_the_callers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the caller's"):
        check_headers({name: "x"})


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})


def test_a_mail_says_what_it_was_told() -> None:
    facts = {"cc": ["c@example.com"], "bcc": ["b@example.com"], "reply_to": "r@example.com"}

    message = written(mail(subject="Grüße", text="größer\n", html="<b>größer</b>\n", headers={"X-A": "1"}, **facts))

    assert message["Subject"] == "Grüße"
    assert (message["From"], message["To"]) == ("penstock@example.com", "ada@example.com")
    assert (message["Cc"], message["Bcc"], message["Reply-To"]) == ("c@example.com", None, "r@example.com")
    assert message["X-A"] == "1"
    assert message["Message-ID"] == f"<{KEY}@example.com>"
    body = message.get_body(("plain",))
    html = message.get_body(("html",))
    assert body is not None
    assert html is not None
    assert (body.get_content().split(), html.get_content().split()) == (["größer"], ["<b>größer</b>"])


@pytest.mark.parametrize("text", ["grün\n", "ü" * 5000 + "\n" + "x" * 5000])
def test_a_mail_is_written_in_ascii_lines(text: str) -> None:
    content = compose(mail(subject="ü" * 300, text=text), "a@b.example").as_bytes()

    assert content.isascii()
    assert max(len(line) for line in content.split(b"\r\n")) <= 998


def test_a_mail_without_a_sender_is_not_sent() -> None:
    with pytest.raises(PermanentError, match="FROM_ADDRESS"):
        deliver(mail(), SmtpSettings())
