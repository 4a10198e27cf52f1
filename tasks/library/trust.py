"""Whose certificates are believed."""

import ssl
from functools import lru_cache
from pathlib import Path

import httpx


@lru_cache(maxsize=8)  # reading the authorities takes longer than most calls
def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a client's TLS context that believes the authorities in `ca_file`, or those that certifi lists."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    return httpx.create_ssl_context(trust_env=False)
