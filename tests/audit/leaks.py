"""Secrets that got into a file: known forms of keys, passwords inside URLs, and literals that look drawn by lot."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from jobs.keys import parse

FORMS: Final = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,})",
    "a token of GitLab": r"\bglpat-[\w-]{20}",
    "a token of Slack": r"\bxox[abeoprs]-[\w-]{10,}",
    "a key of Google": r"\bAIza[\w-]{35}",
    "a key of Stripe": r"\b[rs]k_live_\w{16,}",
    "a signed token (JWT)": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a DSN of Sentry": r"https://[0-9a-f]{32}@",
}
OUR_KEY: Final = re.compile(r"pns_[0-9a-f]{16}_[\w-]{49}", re.ASCII)
IN_URL: Final = re.compile(r"\b[a-z][a-z0-9+]*://[^/\s\"'`<>{}$:@\\]*:([^/\s\"'`<>{}$@\\]+)@")
ASSIGNED: Final = re.compile(
    r"(?:password|passwd|secret|token|api_?key|credential)\w*[\"']?\s*[:=]\s*[\"']([\w+/=-]{16,})[\"']", re.IGNORECASE
)
EXAMPLES: Final = frozenset({
    "...", "***", "80", "80#", "PASSWORD", "guest", "hu:sh", "hunter2",
    "hush", "hush?hush", "of-my-own", "p", "password", "secret", "sesame", "x",
})  # fmt: skip
"""What stands for a password in pages and tests, and is none. A new example takes one of these."""
LEAST_BITS: Final = 3.6
"""Of entropy per character, from which on a literal counts as drawn by lot. Words have fewer."""


class Leak(NamedTuple):
    """Where something looks like a secret. The secret itself is not shown."""

    line: int
    what: str


def leaks(text: str) -> Iterator[Leak]:
    """Yield what looks like a secret in a text, line by line."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, form in FORMS.items():
            if re.search(form, line):
                yield Leak(number, what)
        if any(parse(key) for key in OUR_KEY.findall(line)):
            yield Leak(number, "an API key of Penstock")
        if set(IN_URL.findall(line)) - EXAMPLES:
            yield Leak(number, "a password inside a URL")
        if any(is_drawn_by_lot(literal) for literal in ASSIGNED.findall(line)):
            yield Leak(number, "a literal that looks drawn by lot")


def is_drawn_by_lot(literal: str) -> bool:
    """Tell whether a literal has letters and digits, mixed as by chance."""
    shares = [count / len(literal) for count in Counter(literal).values()]
    bits = -sum(share * math.log2(share) for share in shares)
    return bits >= LEAST_BITS and bool(re.search(r"[0-9]", literal)) and bool(re.search(r"[A-Za-z]", literal))


def leaks_in(files: list[Path], root: Path) -> list[str]:
    """Return a line for each leak in the files of a checkout; a file that is no text has none."""
    found = []
    for file in files:
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(root)}:{leak.line}: {leak.what}" for leak in leaks(text)]
    return found
