"""`python -m deploy.grafana` writes the dashboards anew."""

import json
from pathlib import Path
from typing import Final

from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.panels import Dashboard

FOLDER: Final = Path(__file__).parent / "dashboards"


def file_of(dashboard: Dashboard) -> Path:
    """Return where a dashboard lies."""
    return FOLDER / f"{dashboard.name}.json"


def text_of(dashboard: Dashboard) -> str:
    """Return the file of a dashboard as it should be."""
    return json.dumps(dashboard.document(), indent=2) + "\n"


def main() -> None:
    """Write all of them."""
    for dashboard in DASHBOARDS:
        file_of(dashboard).write_text(text_of(dashboard))


if __name__ == "__main__":
    main()
