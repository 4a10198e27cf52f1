"""A Prometheus with the repository's rules, on the processes of a stack."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import yaml

from deploy.stack.home import ROOT
from tests.services import plain
from tests.services.monitoring import programs
from tests.services.stack import eventually

CONFIGURATION: Final = ROOT / "deploy" / "prometheus"
START_SECONDS: Final = 60.0


class Prometheus:
    """What it tells over HTTP."""

    def __init__(self, url: str) -> None:
        """Ask at `url`."""
        self._url = url

    def ask(self, what: str, **parameters: str) -> Any:
        """Return the data of an answer of its API."""
        return plain.get(f"{self._url}/api/v1/{what}", params=parameters, timeout=20).json()["data"]

    def is_ready(self) -> bool:
        """Tell whether it serves: it listens earlier, and sends away who asks then."""
        return plain.get(f"{self._url}/-/ready", timeout=20).is_success

    def value(self, expression: str) -> list[Any]:
        """Return the samples of an expression now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found


@contextmanager
def watching(metrics_urls: Mapping[str, str], folder: Path) -> Iterator[Prometheus]:
    """Have one watch what answers at these addresses, every two seconds, until the block ends."""
    shutil.copytree(CONFIGURATION / "rules", folder / "rules")
    chosen = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text())
    chosen["global"] |= {"scrape_interval": "2s", "evaluation_interval": "1s", "scrape_timeout": "2s"}
    chosen["alerting"] = {}
    for job in chosen["scrape_configs"]:
        job.pop("dns_sd_configs", None)  # here is no name to be found
    (folder / "prometheus.yml").write_text(yaml.safe_dump(chosen))
    (folder / "targets").mkdir()
    for name, url in metrics_urls.items():
        target = [{"targets": [httpx.URL(url).netloc.decode()]}]
        (folder / "targets" / f"{name}.json").write_text(json.dumps(target))
    with _running(folder) as process:
        port = eventually(lambda: _port(process), START_SECONDS, "Prometheus listens")
        told = Prometheus(f"http://127.0.0.1:{port}")
        eventually(told.is_ready, START_SECONDS, "Prometheus is ready")
        yield told


@contextmanager
def _running(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [programs().prometheus, "--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--storage.tsdb.path={folder / 'data'}"], cwd=folder, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]") -> int | None:
    assert process.poll() is None, "Prometheus has ended"
    links = psutil.Process(process.pid).net_connections("tcp")
    return next((link.laddr.port for link in links if link.status == psutil.CONN_LISTEN), None)
