"""`python -m api`: serve the API with uvicorn."""

import os
import shutil
import sys
import tempfile

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.settings import ApiSettings
from jobs.errors import PenstockError


def main() -> None:
    """Serve until told to stop; several processes share the port and, through files, their metrics."""
    settings = ApiSettings()
    app = create_app()  # also where others will serve: what cannot start is told once, and not by each of them
    shared = None
    if settings.api_processes > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        shared = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="penstock-metrics-")
    try:
        uvicorn.run(
            "api.app:create_app" if settings.api_processes > 1 else app,
            factory=settings.api_processes > 1,
            host=settings.api_host,
            port=settings.api_port,
            workers=settings.api_processes,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=30,
        )
    finally:
        if shared:
            shutil.rmtree(shared, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except (PenstockError, ValidationError) as error:
        sys.stderr.write(f"The API cannot start: {error}\n")
        sys.exit(2)
