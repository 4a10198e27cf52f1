"""Whether the whole stack can serve, asked over HTTP as any client would."""

import json
import urllib.error
import urllib.request

ASK_SECONDS = 2.0


def ready(api_url: str, *, workers: int) -> bool:
    """Say whether `GET /ready` answers 200 and counts at least `workers` workers."""
    try:
        with urllib.request.urlopen(f"{api_url}/ready", timeout=ASK_SECONDS) as answer:  # noqa: S310 - http, our own
            said = json.load(answer)
    except (OSError, urllib.error.HTTPError, ValueError):
        return False
    return counted_workers(said) >= workers


def counted_workers(said: object) -> int:
    """Return how many workers the answer of `/ready` counts; 0 when it says nothing of them."""
    counted = said.get("workers_alive") if isinstance(said, dict) else None
    return counted if isinstance(counted, int) else 0
