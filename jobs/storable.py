"""What PostgreSQL can keep of a text: everything but NUL and the halves of surrogate pairs.

Its `text` and `jsonb` have no place for them (PostgreSQL documentation, 8.14 "JSON Types"), and one such
character would spoil the whole statement that it travels in.
"""

import json
import re
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

#: JSON may hold NUL as an escape, PostgreSQL's jsonb may not.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

_IN_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_SUSPECT_IN_JSON: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[" + "\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether `text` can be kept as it is."""
    return _IN_TEXT.search(text) is None


def is_storable_json(document: str) -> bool:
    """Tell whether the JSON text `document` holds only strings that can be kept as they are."""
    if _SUSPECT_IN_JSON.search(document) is None:
        return True  # nearly always, and at the price of one search
    return _are_storable(json.loads(document)) if is_storable(document) else False


def _are_storable(value: object) -> bool:
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, dict):
        return all(is_storable(key) and _are_storable(item) for key, item in value.items())
    return all(map(_are_storable, value)) if isinstance(value, list) else True


def storable(text: str) -> str:
    """Return `text` with a replacement character for each that cannot be kept."""
    return _IN_TEXT.sub(REPLACEMENT, text)


def storable_json(document: str) -> str:
    """Return the JSON text `document` with a replacement character for each NUL that it holds as an escape."""
    return _ESCAPED_NUL.sub(r"\1\\ufffd", document) if "\\u0000" in document else document
