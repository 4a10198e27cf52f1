"""Whether the whole stack can serve, asked over HTTP as any client would."""

import json
import urllib.request

ASK_SECONDS = 2.0


def ready(api_url: str, *, workers: int) -> bool:
    """Say whether `GET /ready` answers 200 and counts at least `workers` workers."""
    try:
        return counted_workers(_get(f"{api_url}/ready")) >= workers
    except (OSError, ValueError):
        return False


def ours(api_url: str, api_key: str) -> bool:
    """Say whether the API there takes our key: another stack's may have won the port, and is ready too."""
    try:
        _get(f"{api_url}/api/v1/tasks", {"Authorization": f"Bearer {api_key}"})
    except (OSError, ValueError):
        return False
    return True


def counted_workers(said: object) -> int:
    """Return how many workers the answer of `/ready` counts; 0 when it says nothing of them."""
    counted = said.get("workers_alive") if isinstance(said, dict) else None
    return counted if isinstance(counted, int) else 0


def _get(url: str, headers: dict[str, str] | None = None) -> object:
    """Return the JSON of a successful answer. Raises `OSError`, or `ValueError` for an answer that is no JSON."""
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 - http, our own
    with urllib.request.urlopen(request, timeout=ASK_SECONDS) as answer:  # noqa: S310 - the same
        said: object = json.load(answer)
    return said
