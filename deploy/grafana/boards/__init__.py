"""The dashboards."""

from typing import Final

from deploy.grafana.boards.api import API
from deploy.grafana.boards.overview import OVERVIEW
from deploy.grafana.boards.queues import QUEUES
from deploy.grafana.boards.tasks import TASKS
from deploy.grafana.boards.workers import WORKERS

DASHBOARDS: Final = (OVERVIEW, QUEUES, TASKS, WORKERS, API)
