"""`python -m api`: serve the API with uvicorn."""

import os
import resource
import shutil
from typing import Final

import uvicorn
from fastapi import FastAPI

from api.connections import Connection
from api.settings import ApiSettings
from api.siblings import shared_folder
from jobs.misconfiguration import variable_of
from jobs.places import look_at_place
from jobs.startup import starting

FILES_BESIDE_CONNECTIONS: Final = 200
"""Of each process: connections to PostgreSQL and the broker, logs, metrics."""


def _allow_files(count: int) -> None:
    """Raise the number of files that this process and its children may open, as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(settings: ApiSettings, app: FastAPI) -> None:
    """Serve until told to stop; several processes share the port and, through files, their metrics.

    `app` was made even where others will serve: what cannot start is told once, and not by each of them.
    """
    _allow_files(settings.connections_limit + FILES_BESIDE_CONNECTIONS)
    shared = None
    if settings.api_processes > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        shared = os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared_folder()
    try:
        uvicorn.run(
            "api.app:create_app" if settings.api_processes > 1 else app,
            factory=settings.api_processes > 1,
            host=settings.api_host,
            port=settings.api_port,
            workers=settings.api_processes,
            loop="uvloop",
            http=Connection,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=30,
            timeout_worker_healthcheck=30,
            proxy_headers=False,
        )
    finally:
        if shared:
            shutil.rmtree(shared, ignore_errors=True)


if __name__ == "__main__":
    with starting("The API"):
        from api.app import create_app, wait_for_servers  # reads the first settings, which may be wrong

        served = create_app()
        settings = ApiSettings()
        names = {f"{part}_variable": variable_of(ApiSettings, f"api_{part}") for part in ("host", "port")}
        look_at_place(settings.api_host, settings.api_port, **names)
        wait_for_servers()
        main(settings, served)
