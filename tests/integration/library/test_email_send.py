"""`email.send` against a mail server that refuses."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.errors import PermanentError
from tasks.library.email_send import send
from tasks.library.failures import BrokenAnswerError, ServerTroubleError, UnreachableError
from tasks.library.mail import Mail, MailReceipt, RefusedRecipient, deliver
from tasks.library.settings import SmtpSettings
from tests.servers.certificates import Certificate
from tests.servers.smtp import MailServer, running_mail_server

KEY = "018f8f5e-0000-7000-8000-000000000000"


def mail(**facts: Any) -> Mail:
    known = {"sender": "penstock@example.com", "to": ["ada@example.com"], "subject": "s", "text": "t", "key": KEY}
    return Mail(**{**known, **facts})


def settings(server: MailServer, **facts: Any) -> SmtpSettings:
    return SmtpSettings(
        **{"host": "localhost", "port": server.port, "security": "none", "timeout_seconds": 10, **facts}
    )


def test_a_mail_is_handed_over(mail_server: MailServer) -> None:
    everyone = {"to": ["a@x.example", "b@x.example"], "cc": ["c@x.example"], "bcc": ["d@x.example", "a@x.example"]}

    receipt = deliver(mail(subject="Grüße", text="Hallo\n.\nEnde", **everyone), settings(mail_server))

    taken = mail_server.inbox[0]
    assert receipt == MailReceipt(
        message_id=f"<{KEY}@example.com>",
        accepted=["a@x.example", "b@x.example", "c@x.example", "d@x.example"],
        refused=[],
    )
    assert (taken.sender, taken.recipients) == ("penstock@example.com", receipt.accepted)
    assert (taken.message["Subject"], taken.message["Message-ID"]) == ("Grüße", receipt.message_id)
    assert taken.message.get_content().split() == ["Hallo", ".", "Ende"]
    assert b"d@x.example" not in taken.content


def test_the_task_reads_its_settings_and_keeps_its_message_id(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "HOST": "127.0.0.1",
        "PORT": str(mail_server.port),
        "SECURITY": "none",
        "FROM_ADDRESS": "p@y.example",
    }.items():
        monkeypatch.setenv(f"PENSTOCK_SMTP_{name}", value)
    run: Any = send.run.__func__  # type: ignore[attr-defined]  # the function under the bound method
    running = SimpleNamespace(request=SimpleNamespace(id=KEY))

    receipts = [run(running, to="ada@example.com", subject="s", text="t") for _attempt in (1, 2)]
    loose = run(SimpleNamespace(request=SimpleNamespace(id=None)), to=["ada@example.com"], subject="s", text="t")

    assert [receipt.message_id for receipt in receipts] == [f"<{KEY}@y.example>"] * 2
    assert loose.message_id not in {receipt.message_id for receipt in receipts}
    assert [taken.sender for taken in mail_server.inbox] == ["p@y.example"] * 3


@pytest.mark.parametrize("place", ["sender", "data"])
def test_a_temporary_no_can_be_tried_again(mail_server: MailServer, place: str) -> None:
    setattr(mail_server.faults, place, "451 Later, please")

    with pytest.raises(ServerTroubleError, match="451 Later, please"):
        deliver(mail(), settings(mail_server))


@pytest.mark.parametrize("place", ["sender", "data"])
def test_a_final_no_is_permanent(mail_server: MailServer, place: str) -> None:
    setattr(mail_server.faults, place, "554 Never")

    with pytest.raises(PermanentError, match="554 Never"):
        deliver(mail(), settings(mail_server))


def test_recipients_that_are_refused_among_others_are_reported(mail_server: MailServer) -> None:
    mail_server.faults.recipients = {"b@x.example": "550 Unknown", "c@x.example": "450 Busy"}

    receipt = deliver(mail(to=["a@x.example", "b@x.example", "c@x.example"]), settings(mail_server))

    assert receipt.accepted == mail_server.inbox[0].recipients == ["a@x.example"]
    assert receipt.refused == [
        RefusedRecipient(address="b@x.example", code=550, message="Unknown"),
        RefusedRecipient(address="c@x.example", code=450, message="Busy"),
    ]


def test_a_final_no_to_every_recipient_is_permanent(mail_server: MailServer) -> None:
    mail_server.faults.recipients = {"a@x.example": "550 Unknown", "b@x.example": "553 Unknown"}

    with pytest.raises(PermanentError, match="every recipient"):
        deliver(mail(to=["a@x.example", "b@x.example"]), settings(mail_server))


def test_a_no_to_every_recipient_that_is_partly_temporary_can_be_tried_again(mail_server: MailServer) -> None:
    mail_server.faults.recipients = {"a@x.example": "550 Unknown", "b@x.example": "450 Busy"}

    with pytest.raises(ServerTroubleError, match="every recipient"):
        deliver(mail(to=["a@x.example", "b@x.example"]), settings(mail_server))


def test_a_server_that_hangs_up_can_be_tried_again(mail_server: MailServer) -> None:
    mail_server.faults.hang_up = True

    with pytest.raises(BrokenAnswerError):
        deliver(mail(), settings(mail_server))

    assert mail_server.inbox == []


def test_a_mail_that_was_taken_stays_taken_when_the_server_hangs_up_afterwards(mail_server: MailServer) -> None:
    mail_server.faults.hang_up_after = True

    receipt = deliver(mail(), settings(mail_server))

    assert receipt.accepted == ["ada@example.com"]
    assert len(mail_server.inbox) == 1


def test_a_server_that_is_not_there_can_be_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(UnreachableError):
        deliver(mail(), SmtpSettings(host="127.0.0.1", port=port, security="none"))


def test_a_server_that_says_nothing_can_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        silent = SmtpSettings(host="127.0.0.1", port=port, security="none", timeout_seconds=0.3)

        with pytest.raises(BrokenAnswerError, match="silent"):
            deliver(mail(), silent)


def test_no_mail_goes_in_clear_when_tls_is_wanted(mail_server: MailServer) -> None:
    with pytest.raises(PermanentError, match="STARTTLS"):
        deliver(mail(), settings(mail_server, security="starttls"))

    assert mail_server.inbox == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_in_tls_with_a_login(certificate: Certificate, security: str) -> None:
    side = {"tls" if security == "tls" else "starttls": certificate.server_context()}
    login = {"username": "ada", "password": SecretStr("correct horse")}

    with running_mail_server(**side) as server:
        facts = {"security": security, "ca_file": certificate.certificate_file, **login}
        deliver(mail(), settings(server, **facts))
        with pytest.raises(PermanentError, match="535"):
            deliver(mail(), settings(server, **{**facts, "password": SecretStr("wrong")}))

    assert [(taken.in_tls, taken.login) for taken in server.inbox] == [(True, "ada")]


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(certificate: Certificate) -> None:
    with running_mail_server(starttls=certificate.server_context()) as server, pytest.raises(UnreachableError):
        deliver(mail(), settings(server, security="starttls"))

    assert server.inbox == []
