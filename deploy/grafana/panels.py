"""What a dashboard is made of, and how Grafana wants to read it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
"""Grafana's grid is that wide."""
_SCHEMA: Final = 39
"""Grafana 10.4 and later read it; later ones bring it up to date themselves."""
_HEIGHTS: Final = {"stat": 4, "timeseries": 8}

Unit = Literal["short", "ops", "reqps", "s", "percentunit", "bytes", "bool_yes_no"]


@dataclass(frozen=True)
class Series:
    """An expression of PromQL, and how its lines are called; `{{queue}}` is a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A picture of some series, with the sentence that says how to read it."""

    title: str
    description: str
    unit: Unit
    series: Sequence[Series]
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 12
    stacked: bool = False


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of `label` that `metric` has."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True)
class Dashboard:
    """A page of panels, in rows from left to right."""

    name: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[Variable] = ()

    def document(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        return {
            "uid": f"penstock-{self.name}",
            "title": f"Penstock / {self.title}",
            "tags": ["penstock"],
            "editable": False,
            "graphTooltip": 1,
            "links": [_LINKS],
            "panels": list(self._panels()),
            "refresh": "30s",
            "schemaVersion": _SCHEMA,
            "templating": {"list": [_CHOICE_OF_SOURCE, *map(_variable, self.variables)]},
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "version": 1,
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        left = top = tallest = 0
        for number, panel in enumerate(self.panels, 1):
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            height = _HEIGHTS[panel.kind]
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            left, tallest = left + panel.width, max(tallest, height)


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {"fillOpacity": 30 if panel.stacked else 0, "showPoints": "never", "stacking": stacking}
        if panel.unit != "percentunit":
            defaults["min"] = 0
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(series, chr(ord("A") + at)) for at, series in enumerate(panel.series)],
    }


def _target(series: Series, name: str) -> dict[str, Any]:
    return {"refId": name, "datasource": SOURCE, "expr": series.expression, "legendFormat": series.legend}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": variable.name},
        "definition": query,
        "refresh": 2,  # when the span of time changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"},
}
_CHOICE_OF_SOURCE: Final = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
_LINKS: Final = {
    "title": "Penstock",
    "type": "dashboards",
    "tags": ["penstock"],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
}
