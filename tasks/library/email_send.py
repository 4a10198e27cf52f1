"""The task `email.send`."""

from typing import Any
from uuid import uuid4

from celery import shared_task

from tasks.library.mail import Mail, MailReceipt, deliver
from tasks.library.mailbox import HeaderText, Mailbox, Mailboxes, MailHeaders
from tasks.library.settings import SmtpSettings


@shared_task(
    name="email.send",
    bind=True,
    max_retries=8,
    retry_backoff=5,
    retry_backoff_max=1800,
    soft_time_limit=300,
    time_limit=330,
)
def send(
    self: Any,
    *,
    to: Mailbox | Mailboxes,
    subject: HeaderText,
    text: str,
    html: str | None = None,
    from_address: Mailbox | None = None,
    cc: Mailboxes | None = None,
    bcc: Mailboxes | None = None,
    reply_to: Mailbox | None = None,
    headers: MailHeaders | None = None,
) -> MailReceipt:
    """Send a mail through the configured mail server.

    Raises what `tasks.library.mail.deliver` raises. The Message-ID is made of the job's id, so that receivers can drop
    a copy when a job whose worker died is run again.
    """
    mail = Mail(
        sender=from_address,
        to=[to] if isinstance(to, str) else to,
        subject=subject,
        text=text,
        html=html,
        cc=cc or (),
        bcc=bcc or (),
        reply_to=reply_to,
        headers=headers or {},
        key=self.request.id or str(uuid4()),
    )
    return deliver(mail, SmtpSettings())
