"""API keys: random, recognisable by scanners, stored only as a digest.

``pns_<id>_<secret><checksum>``: 16 hexadecimal digits that name the key, 43 characters of base64url for
256 random bits, and 6 for the CRC-32 of all before them, so that a leaked key is found and a mistyped one
refused without a look at the database. A fast hash is right for a secret that cannot be guessed.
"""

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from jobs.errors import NotFound
from jobs.model import DEFAULT_TENANT
from jobs.tables import api_keys

_PREFIX: Final = "pns"
_ID_LENGTH: Final = 16
_SHAPE: Final = re.compile(
    rf"(?P<body>{_PREFIX}_(?P<id>[0-9a-f]{{{_ID_LENGTH}}})_(?P<secret>[\w-]{{43}}))(?P<checksum>[\w-]{{6}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, once the key was found genuine."""

    key_id: str
    tenant: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key; its secret is not."""

    id: str
    name: str
    tenant: str
    created_at: datetime
    revoked_at: datetime | None


def _checksum(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(text.encode()).to_bytes(4, "big")).decode().rstrip("=")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def create_key(connection: Connection, *, name: str, tenant: str = DEFAULT_TENANT) -> str:
    """Store a new key and return it; it cannot be shown again."""
    key_id, secret = secrets.token_hex(_ID_LENGTH // 2), secrets.token_urlsafe(32)
    connection.execute(insert(api_keys).values(id=key_id, name=name, tenant=tenant, secret_sha256=_digest(secret)))
    body = f"{_PREFIX}_{key_id}_{secret}"
    return body + _checksum(body)


def revoke_key(connection: Connection, key_id: str) -> None:
    """Refuse the key from now on. Raises `NotFound`."""
    statement = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=func.now())
    if connection.execute(statement).rowcount != 1:
        raise NotFound(f"There is no API key {key_id}.")


def list_keys(connection: Connection) -> list[KeyRecord]:
    """Return every key that was ever made, newest first."""
    columns = (api_keys.c.id, api_keys.c.name, api_keys.c.tenant, api_keys.c.created_at, api_keys.c.revoked_at)
    statement = select(*columns).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    return [KeyRecord(*row) for row in connection.execute(statement)]


def parse(key: str) -> tuple[str, str] | None:
    """Return the id and the secret of a well-formed key; None for anything else."""
    shaped = _SHAPE.fullmatch(key)
    if shaped is None or not hmac.compare_digest(shaped["checksum"], _checksum(shaped["body"])):
        return None
    return shaped["id"], shaped["secret"]


def authenticate(connection: Connection, key: str) -> Principal | None:
    """Return whose key this is; None when it is unknown, wrong or revoked.

    An unknown id costs the same comparison as a known one.
    """
    parts = parse(key)
    if parts is None:
        return None
    key_id, secret = parts
    row = connection.execute(
        select(api_keys.c.tenant, api_keys.c.secret_sha256).where(
            api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
        )
    ).one_or_none()
    stored = bytes(row.secret_sha256) if row else bytes(32)
    genuine = hmac.compare_digest(stored, _digest(secret))
    return Principal(key_id, row.tenant) if row and genuine else None
