"""What to do about each problem that the API can answer with."""

import json
from collections.abc import Mapping
from typing import Any, Final

import httpx

from deploy.cli.errors import Refusal

#: By the last part of the problem's type. `{name}` is filled in from the problem itself.
CURES: Final[Mapping[str, str]] = {
    "malformed-body": "Check the payload: it must be JSON, at most 32 levels deep.",
    "malformed-idempotency-key": "Use 1 to 255 letters, digits or signs without spaces.",
    "invalid-cursor": "Start again without a cursor.",
    "unauthorized": "Set PENSTOCK_API_KEY or --key-file; `penstock keys create` makes a key.",
    "not-found": "`penstock jobs` and `penstock schedules list` show what this key can see.",
    "wrong-state": "`penstock job ID --events` shows what happened to it.",
    "read-only": "Change it where it is declared.",
    "precondition-failed": "Look at it again with `penstock schedules show`.",
    "invalid-timing": "`penstock schedules put --help` explains the options.",
    "unique-key-taken": "Wait for that job or cancel it, or choose another --unique-key.",
    "quota-exceeded": "Wait a little; operators: PENSTOCK_REQUESTS_PER_MINUTE.",
    "request-timeout": "The connection was too slow for what was sent.",
    "body-too-large": "Put large data elsewhere and submit where it is.",
    "unsupported-media-type": "Something between here and the API changes the request.",
    "unknown-task": "`penstock tasks` lists the tasks.",
    "unknown-queue": "Take one of those, or leave --queue out.",
    "invalid-payload": "`penstock tasks {task}` shows what it takes.",
    "invalid-job": "`penstock submit --help` explains the options.",
    "idempotency-key-reused": "Take a new --idempotency-key, or send what was sent before.",
    "invalid-request": "`penstock submit --help` explains the options.",
    "refused": "Change the request.",
    "outcome-unknown": "Look with `penstock job` or `penstock jobs` what became of it.",
    "database-unavailable": "Nothing was stored; try again in a moment.",
    "overloaded": "Nothing was stored; try again in a moment.",
    "backlog-full": "Nothing was stored; try again when more workers run.",
    "busy": "Nothing was stored; try again in a moment.",
    "unavailable": "Nothing was stored; try again in a moment.",
    "profile-running": "Wait for the other profile to end.",
    "not-installed": "Install penstock[diagnostics] where the API runs.",
    "internal-error": "Look into the API's log for the request id.",
}

#: In place of those above, where the problem is about a schedule. `{command}` is the one that was given.
_OF_SCHEDULES: Final[Mapping[str, str]] = {
    "invalid-timing": "`penstock schedules {command} --help` explains the options.",
    "invalid-job": "`penstock schedules {command} --help` explains the options.",
    "invalid-request": "`penstock schedules {command} --help` explains the options.",
    "outcome-unknown": "Look with `penstock schedules show` what became of it.",
}
_SCHEDULES: Final = "/api/v1/schedules"
_COMMANDS: Final = {"GET": "show", "DELETE": "delete", "occurrences": "history"}
"""By the method, or by the last part of the path, where the command is not called by that part itself."""
_PARTS: Final = 2
"""Of the path to something of a schedule."""

_KNOWN: Final = {"type", "title", "status", "detail", "instance", "request_id", "errors", "index"}


def refusal(response: httpx.Response, *, task: str | None = None) -> Refusal:
    """Return the error for an answer that is none: one line, its cure, and each field error below."""
    problem = _problem(response)
    if problem is None:
        return Refusal(
            f"{response.request.url.host} answered {response.status_code}, and not as Penstock's API does.",
            status=response.status_code,
            cure="Is the address right, and is what stands between here and the API willing?",
        )
    slug = str(problem.get("type", "")).rsplit("/", 1)[-1]
    return Refusal(
        _sentence(problem),
        status=response.status_code,
        slug=slug,
        cure=_cure(slug, response.request, task or "NAME"),
        details=_details(problem),
    )


def _cure(slug: str, request: httpx.Request, task: str) -> str:
    _, schedules, rest = request.url.path.partition(_SCHEDULES)
    if not schedules or slug not in _OF_SCHEDULES:
        return CURES.get(slug, "").format(task=task)
    parts = rest.strip("/").split("/")
    command = parts[1] if len(parts) == _PARTS else request.method if parts[0] else "list"
    return _OF_SCHEDULES[slug].format(command=_COMMANDS.get(command, command.lower()))


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and "title" in body else None


def _sentence(problem: Mapping[str, Any]) -> str:
    title, detail = str(problem["title"]).rstrip("."), str(problem.get("detail") or "").rstrip(".")
    index = problem.get("index")
    which = "" if index is None else f" (item {index} of the batch)"
    return f"{title}{which}: {detail}." if detail and detail != title else f"{title}{which}."


def _details(problem: Mapping[str, Any]) -> list[str]:
    lines = [f"{one.get('field')}: {one.get('message')}" for one in problem.get("errors") or ()]
    lines += [f"{name}: {_said(value)}" for name, value in problem.items() if name not in _KNOWN]
    if problem.get("request_id"):
        lines.append(f"request id: {problem['request_id']}")
    return lines


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
