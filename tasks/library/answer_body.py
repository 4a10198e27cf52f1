"""Reads an answer's body within its bounds, and shows it as text where it is text."""

import base64
import re
import zlib
from collections.abc import Iterable, Iterator

from jobs.errors import PermanentError
from tasks.library.failures import BrokenAnswerError

#: Decompressed bytes that are held at a time, whatever the ratio of compression.
PIECE_BYTES = 64 * 1024

#: Compressed bytes that are read beyond the limit on the body: a stream can be long and say nothing.
WIRE_SLACK_BYTES = 64 * 1024

#: zlib's number for "a gzip header, and the largest window".
_GZIP = 31

_TEXT_TYPES = re.compile(
    r"text/.+|application/(?:.+\+)?(?:json|xml|yaml)|application/(?:javascript|x-www-form-urlencoded|x-ndjson)",
    re.ASCII,
)
_CHARSET = re.compile(r';\s*charset="?([A-Za-z0-9_-]+)"?', re.ASCII)
#: Python also knows "encodings" that run code paths nobody expects of a charset, so these are named one by one.
_CHARSETS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "utf-16"}
)


def read_body(chunks: Iterable[bytes], content_encoding: str, max_bytes: int) -> bytes:
    """Return the whole body, decompressed when `content_encoding` is gzip and as it came otherwise.

    Raises `PermanentError` as soon as it is longer than `max_bytes`, `BrokenAnswerError` when it cannot be
    decompressed.
    """
    pieces = _bounded(chunks, max_bytes + WIRE_SLACK_BYTES)
    if content_encoding.strip().lower() in {"gzip", "x-gzip"}:
        pieces = _gunzip(pieces)
    return b"".join(_bounded(pieces, max_bytes))


def _bounded(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if seen > limit:
            raise PermanentError("The answer is longer than max_response_bytes.")
        yield piece


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = None
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                # A file may have several members (RFC 1952 section 2.2).
                if member is None or member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(rest, PIECE_BYTES)
                rest = member.unused_data if member.eof else member.unconsumed_tail
        if member is not None:
            yield member.flush()
    except zlib.error:
        raise BrokenAnswerError("The answer is not the gzip that it claims to be.") from None
    if member is not None and not member.eof:
        raise BrokenAnswerError("The answer broke off.")


def show_body(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return `body` as text and False, or in base64 and True when it is not text by its type or by its bytes."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type or _TEXT_TYPES.fullmatch(media_type):
        charset = _CHARSET.search(content_type)
        encoding = charset[1].lower() if charset else "utf-8"
        text = _decoded(body, encoding) if encoding in _CHARSETS else None
        # PostgreSQL keeps no NUL in JSON, so text with one is not text to us.
        if text is not None and "\0" not in text:
            return text, False
    return base64.b64encode(body).decode("ascii"), True


def _decoded(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return None
