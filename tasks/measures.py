"""What a task measures of its own business, through `self.job`.

It travels with the end of the attempt to the worker's main process, which counts it when that end was accepted: once
for each attempt that counts, and not at all for one that was fenced or whose process died.
"""

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

MOST_MEASURES: Final = 1000
"""Measures of one attempt that are kept; sums of a counter with the same labels are one."""
MOST_LABELS: Final = 4
LONGEST_VALUE: Final = 64
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
_TAKEN: Final = ("task", "le", "quantile")
_ENDINGS: Final = ("_total", "_sum", "_count", "_bucket", "_created", "_info")


class Kind(StrEnum):
    """How measures of one name come together."""

    COUNTER = "counter"
    """They add up."""
    GAUGE = "gauge"
    """The last one stands."""
    HISTOGRAM = "histogram"
    """They are sorted into buckets."""


class Measure(NamedTuple):
    """One value of one series."""

    kind: Kind
    name: str
    labels: tuple[tuple[str, str], ...]
    """In the order of their names."""
    value: float


class Measures:
    """What one attempt has measured so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._sums: dict[tuple[Kind, str, tuple[tuple[str, str], ...]], float] = {}
        self._seen: list[Measure] = []
        self.dropped = 0
        """Measures beyond the limit."""

    def count(self, name: str, amount: float, labels: Mapping[str, object]) -> None:
        """Add `amount`. Raises `ValueError` for a name, a label or a number that makes no metric."""
        if amount < 0:
            raise ValueError("a counter only grows")
        key = (Kind.COUNTER, name, _checked(name, labels, amount))
        if self._has_room(key):
            self._sums[key] = self._sums.get(key, 0.0) + amount

    def gauge(self, name: str, value: float, labels: Mapping[str, object]) -> None:
        """Set `value`. Raises as `count` does."""
        key = (Kind.GAUGE, name, _checked(name, labels, value))
        if self._has_room(key):
            self._sums[key] = value

    def observe(self, name: str, value: float, labels: Mapping[str, object]) -> None:
        """Sort `value` into a bucket. Raises as `count` does."""
        measure = Measure(Kind.HISTOGRAM, name, _checked(name, labels, value), value)
        if self._has_room(None):
            self._seen.append(measure)

    def taken(self) -> tuple[Measure, ...]:
        """Return all of them."""
        return (*(Measure(*key, value) for key, value in self._sums.items()), *self._seen)

    def _has_room(self, key: object) -> bool:
        if key in self._sums or len(self._sums) + len(self._seen) < MOST_MEASURES:
            return True
        self.dropped += 1
        return False


def _checked(name: str, labels: Mapping[str, object], value: float) -> tuple[tuple[str, str], ...]:
    for given in (name, *labels):
        if not _NAME.fullmatch(given) or "__" in given:
            raise ValueError(f"{given!r} is no name: up to 60 of a-z, 0-9 and single _, a letter first")
    if name.endswith(_ENDINGS):
        raise ValueError(f"{name!r}: leave the ending to the metric's kind")
    if len(labels) > MOST_LABELS or any(label in _TAKEN for label in labels):
        raise ValueError(f"at most {MOST_LABELS} labels, none of them {', '.join(_TAKEN)}")
    if not math.isfinite(value):
        raise ValueError("a measure is a finite number")
    return tuple(sorted((label, str(text)[:LONGEST_VALUE]) for label, text in labels.items()))
