"""Expressions that many panels are made of. `$__rate_interval` is Grafana's: four scrapes at the least."""

from collections.abc import Iterator
from typing import Final

from deploy.grafana.panels import Series

QUANTILES: Final = (0.5, 0.95, 0.99)


def rate(metric: str, by: str, where: str = "") -> str:
    """Return what is counted by processes, a second, added up."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def stored_rate(metric: str, by: str, rest: str, where: str = "") -> str:
    """Return what PostgreSQL counts, a second, added up over the labels `rest`.

    Every API process tells the same, so each series is taken once.
    """
    return f"sum by ({by}) (max by ({by}, {rest}) (rate({metric}{{{where}}}[$__rate_interval])))"


def quantiles(metric: str, where: str = "", by: str = "") -> Iterator[Series]:
    """Return the quantiles of a histogram."""
    grouping = f"{by}, le" if by else "le"
    for quantile in QUANTILES:
        called = f"p{quantile * 100:g}" + (f" {{{{{by}}}}}" if by else "")
        yield Series(
            f"histogram_quantile({quantile}, sum by ({grouping}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))",
            called,
        )
