"""The tasks that ship with Penstock. Importing this package registers them all."""

from tasks.library import demo, email_send, http_request

__all__ = ["demo", "email_send", "http_request"]
