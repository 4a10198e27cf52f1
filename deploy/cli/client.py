"""Talking to the API: what may safely be sent again is, for a bounded time; every refusal becomes one error."""

import ipaddress
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from deploy.cli import screen
from deploy.cli.cures import refusal
from deploy.cli.errors import CommandError, Unreachable
from deploy.cli.target import START_ONE, Target, find_target

Json = dict[str, Any]

PATIENCE_SECONDS: Final = 10.0
"""How long a submission that did not get through is sent again."""
ANSWER_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 5.0
PAGE: Final = 200
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 2.0
PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses that say: the same request will work later, and nothing was stored."""


class Api:
    """One API, with one key."""

    def __init__(self, target: Target, on_pause: Callable[[CommandError, float], None] = screen.pausing) -> None:
        """Connect at the first request; `on_pause` hears of each trouble that is waited out."""
        self._target = target
        self._on_pause = on_pause
        self._http = httpx.Client(
            base_url=target.url,
            headers={"Authorization": f"Bearer {target.key}", "User-Agent": "penstock"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not is_loopback(target.url),  # a proxy must not see what goes to this very machine
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, *, patience: float = 0.0, timeout: float = ANSWER_SECONDS, **more: Any) -> Json:
        """Return what is at `path`; `more` are `params` and `headers`."""
        return self._json(self._ask("GET", path, patience=patience, timeout=timeout, **more))

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        task: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Ask for a change, once: a change that got through and was not answered must not be asked for twice."""
        return self._json(self._ask("POST", path, task=task, json=body, headers=headers or {}))

    def put(
        self,
        path: str,
        body: Json,
        *,
        task: str | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Json:
        """Have `path` be `body`; what did not get through is sent again, for it makes no difference how often."""
        return self._json(self._ask("PUT", path, patience=patience, task=task, json=body, headers=headers or {}))

    def delete(self, path: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Have something removed."""
        self._ask("DELETE", path, headers=headers or {})

    def submit(
        self,
        path: str,
        body: Json,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> tuple[Json, bool]:
        """Return what was accepted, and whether it had been accepted before.

        The Idempotency-Key makes two arrivals one, so it is sent again for `patience` seconds when it did not get
        through.
        """
        sent = {**(headers or {}), "Idempotency-Key": f'"{key or uuid4()}"'}
        response = self._ask("POST", path, patience=patience, task=body.get("task"), json=body, headers=sent)
        return self._json(response), "Idempotency-Replayed" in response.headers

    def pages(
        self, path: str, name: str, params: Mapping[str, Any], limit: int | None, *, newest: bool = False
    ) -> Iterator[Json]:
        """Yield the items of a list, page after page; `limit` None: all. `newest`: not from a replica."""
        headers = {"Cache-Control": "no-cache"} if newest else {}
        cursor: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            wanted = {**params, "limit": size, "cursor": cursor}
            page = self.get(
                path, params={key: value for key, value in wanted.items() if value is not None}, headers=headers
            )
            yield from page[name]
            limit = None if limit is None else limit - len(page[name])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _ask(
        self,
        method: str,
        path: str,
        *,
        patience: float = 0.0,
        timeout: float = ANSWER_SECONDS,
        task: str | None = None,
        **request: Any,
    ) -> httpx.Response:
        deadline = time.monotonic() + patience
        bound = httpx.Timeout(timeout, connect=CONNECT_SECONDS)
        for pause in _pauses():
            try:
                response = self._http.request(method, f"/api/v1{path}", timeout=bound, **request)
            except httpx.TransportError as error:
                trouble: CommandError = self._unreachable(error)
            else:
                if response.is_success:
                    return response
                trouble = refusal(response, task=task)
                if response.status_code not in PASSING:
                    raise trouble
                pause = _retry_after(response) or pause  # noqa: PLW2901 - the server knows better
            if time.monotonic() + pause >= deadline:
                raise trouble
            self._on_pause(trouble, pause)
            time.sleep(pause)  # what the API asked for, or more each time: a crowd must not come back at once
        raise AssertionError("the pauses never end")

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"No API answers at {self._target.url} (from {self._target.source}): {why}.", cure=START_ONE)

    def _json(self, response: httpx.Response) -> Json:
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise refusal(response)
        return found


def _pauses() -> Iterator[float]:
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - spreads clients, guards nothing
        longest = min(longest * 2, LONGEST_PAUSE_SECONDS)


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, section 10.2.3); a date is not worth a clock's doubt."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def is_loopback(url: str) -> bool:
    """Say whether `url` is on this machine."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def connected(url: str | None, key_file: Path | None) -> Iterator[Api]:
    """Give the API that the options and the environment name, and close it."""
    api = Api(find_target(url, key_file))
    try:
        yield api
    finally:
        api.close()
