"""What the stack tells the person who started it."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def say(text: str) -> None:
    """Print now, even where the output is a file; a terminal that is gone is no reason to end."""
    with suppress(OSError):
        print(text, flush=True)


def complain(text: str) -> None:
    """Print to standard error, with the time: these lines are read after the fact."""
    with suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def welcome(stack: Mapping[str, Any]) -> str:
    """Return what is printed when the stack is ready: where it is, the key, and two lines that work."""
    header = f'-H "Authorization: Bearer {stack["api_key"]}"'
    jobs = f"{stack['api_url']}/api/v1/jobs"
    newest = f"""$(curl -sS "{jobs}?limit=1" {header} | cut -d'"' -f6)"""
    body = json.dumps({"task": "demo.echo", "payload": {"message": "hello"}})
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stack["phases_seconds"].items())
    metrics = "\n            ".join(f"{url}   ({name})" for name, url in stack["metrics_urls"].items())
    return f"""
Penstock runs ({phases}).

  API       {stack["api_url"]}   (documentation: {stack["api_url"]}/docs)
  API key   {stack["api_key"]}
  Flower    {stack["flower_url"]}   ({stack["flower_user"]} / {stack["flower_password"]})
  Metrics   {metrics}
  Logs      {stack["logs"]}

Submit a job, and look at the newest one: its result, attempts and timings.

  curl -sS {jobs} {header} -H "Content-Type: application/json" -d '{body}'
  curl -sS "{jobs}/{newest}?wait_seconds=10" {header}

All of this is in {stack["stack_file"]}. """.rstrip()
