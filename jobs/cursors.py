"""Cursors: where the next page of a list begins, in a form that nobody needs to read.

A cursor is bound to its list and filters, and says so itself: one of another list, and one that was damaged, is
refused rather than understood as something else.
"""

import base64
import hashlib
import json
from typing import Final

from jobs.errors import InvalidCursor

_MARK: Final = 16


def scope(*parts: object) -> str:
    """Return what binds a cursor to its list: the list's name, the tenant and the filters."""
    return json.dumps(parts, default=str)


def write(position: str, scope: str) -> str:
    """Return the cursor for the page that begins behind `position`."""
    return base64.urlsafe_b64encode(f"{_mark(position, scope)}{position}".encode()).decode()


def read(cursor: str | None, scope: str) -> str | None:
    """Return the position of a cursor that was written for `scope`; None: the beginning. Raises `InvalidCursor`."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:  # also what UnicodeError and binascii.Error are
        raise InvalidCursor from None
    position = text[_MARK:]
    if text[:_MARK] != _mark(position, scope):
        raise InvalidCursor
    return position


def _mark(position: str, scope: str) -> str:
    return hashlib.sha256(f"{scope}\n{position}".encode()).hexdigest()[:_MARK]
