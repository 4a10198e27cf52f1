"""Which metrics and labels an expression of PromQL names. That it is one, promtool says."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from jobs.telemetry.contract import CONTRACT, PREFIX

#: What RabbitMQ's plugin rabbitmq_prometheus and node_exporter tell, and Prometheus itself.
OTHERS: Final = {
    "up": set[str](),
    "rabbitmq_alarms_memory_used_watermark": set(),
    "rabbitmq_alarms_free_disk_space_watermark": set(),
    "rabbitmq_disk_space_available_bytes": set(),
    "rabbitmq_disk_space_available_limit_bytes": set(),
    "node_filesystem_avail_bytes": {"mountpoint", "fstype"},
    "node_filesystem_size_bytes": {"mountpoint", "fstype"},
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
}
EVERYWHERE: Final = {"job", "instance"}

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE: Final = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTED: Final = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_NAME: Final = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*[(\w:])")
_WORDS: Final = {"and", "or", "unless", "bool", "inf", "nan", "by", "on"}


class Named(NamedTuple):
    """What an expression names."""

    metrics: dict[str, set[str]]
    """Each metric, with the labels by which it is selected."""
    grouping: set[str]
    """Labels by which is grouped or matched."""


def named(expression: str) -> Named:
    """Return the metrics and labels in `expression`."""
    bare = _RANGE.sub("", _TEXT.sub('""', expression))
    grouping = {label.strip() for found in _GROUPED.findall(bare) for label in found.split(",")} - {""}
    bare = _GROUPED.sub(" ", bare)
    metrics: dict[str, set[str]] = {}
    for metric, labels in _SELECTED.findall(bare):
        metrics.setdefault(metric, set()).update(_LABEL.findall(labels))
    for metric in _NAME.findall(re.sub(r"\{[^}]*\}", "", bare)):
        if metric.lower() not in _WORDS:
            metrics.setdefault(metric, set())
    return Named(metrics, grouping)


def known() -> dict[str, set[str]]:
    """Return each series that may be asked for, with its labels."""
    return dict(_of_the_contract()) | OTHERS


def _of_the_contract() -> Iterator[tuple[str, set[str]]]:
    for metric in CONTRACT:
        name, labels = PREFIX + metric.name, set(metric.labels)
        match metric.kind:
            case "counter":
                yield f"{name}_total", labels
            case "gauge":
                yield name, labels
            case "histogram":
                yield f"{name}_bucket", labels | {"le"}
                yield f"{name}_sum", labels
                yield f"{name}_count", labels


def unknown(expression: str, series: dict[str, set[str]]) -> list[str]:
    """Return what `expression` names and `series` lacks."""
    found = named(expression)
    wrong = [metric for metric in found.metrics if metric not in series]
    there = set[str]().union(EVERYWHERE, *(series.get(metric, ()) for metric in found.metrics))
    for metric, labels in found.metrics.items():
        wrong += [f"{metric}{{{label}}}" for label in sorted(labels - series.get(metric, set()) - EVERYWHERE)]
    return wrong + sorted(found.grouping - there)
