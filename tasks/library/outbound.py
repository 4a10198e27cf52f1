"""Sends one HTTP request to somebody else's server and judges the answer. Knows nothing of Celery."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from time import monotonic

import httpcore
import httpx
from pydantic import BaseModel, JsonValue

from jobs.errors import PermanentError, Throttled
from tasks.library.addresses import Resolver, system_resolver
from tasks.library.answer_body import read_body, show_body
from tasks.library.connection import Budget, Dial, GuardedNetwork, dial
from tasks.library.failures import BrokenAnswerError, ServerTroubleError, UrlRefusedError
from tasks.library.retry_after import parse_http_date, parse_retry_after
from tasks.library.settings import HttpSettings
from tasks.library.trust import trust
from tasks.library.urls import Target, parse_url

#: Statuses with which a server asks for patience, when it says for how long.
PATIENCE_STATUSES = frozenset({429, 502, 503, 504})

TOO_MANY_REQUESTS = 429

#: Header fields of an answer that are kept, by count and by bytes; what does not fit is left out.
MAX_KEPT_HEADERS = 100
MAX_KEPT_HEADER_BYTES = 16 * 1024

#: The httpcore debug log has header fields in it. They are other people's secrets, so it stays off at any log level.
logging.getLogger("httpcore").setLevel(logging.INFO)

try:
    USER_AGENT = f"Penstock/{version('penstock')}"
except PackageNotFoundError:  # pragma: no cover - a checkout that was not installed
    USER_AGENT = "Penstock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as a job describes it."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: JsonValue = field(default=None, repr=False)
    expected_statuses: frozenset[int] | None = None
    """None: any 2xx."""
    connect_timeout_seconds: float = 5
    timeout_seconds: float = 30
    max_response_bytes: int = 256 * 1024
    idempotency_key: str | None = None


class HttpAnswer(BaseModel):
    """What the server answered."""

    status: int
    headers: dict[str, str]
    """Names in lower case; fields of one name are joined with a comma."""
    headers_truncated: bool
    """Whether some header fields were left out, because there were too many."""
    body: str
    body_is_base64: bool
    """Whether `body` is in base64, because it is not text."""
    elapsed_seconds: float


def send(
    call: Call, settings: HttpSettings, *, resolver: Resolver = system_resolver, dialler: Dial = dial
) -> HttpAnswer:
    """Return the answer to `call`, if it is an expected one.

    Raises `PermanentError` when no retry will help, `Throttled` when the server says when to come back,
    `OutboundError` otherwise. Follows no redirect, keeps no cookie, reads no proxy from the environment.
    """
    target = parse_url(call.url)
    _insist_on_policy(call, target, settings)
    budget = Budget(call.timeout_seconds, call.connect_timeout_seconds)
    network = GuardedNetwork(target, settings, budget, resolver, dialler)
    with _answer(call, target, settings, network) as answer:
        headers = httpx.Headers(answer.headers)
        _judge(call, target, answer.status, headers)
        body = read_body(answer.iter_stream(), headers.get("content-encoding", ""), call.max_response_bytes)
    text, is_base64 = show_body(body, headers.get("content-type", ""))
    kept, truncated = _kept(headers)
    return HttpAnswer(
        status=answer.status,
        headers=kept,
        headers_truncated=truncated,
        body=text,
        body_is_base64=is_base64,
        elapsed_seconds=round(monotonic() - budget.started, 6),
    )


def _insist_on_policy(call: Call, target: Target, settings: HttpSettings) -> None:
    if settings.ports is not None and target.port not in settings.ports:
        raise UrlRefusedError("Penstock does not call this port.")
    if settings.allowed_hosts and not _is_listed(target.host, settings.allowed_hosts):
        raise UrlRefusedError("Penstock does not call this host.")
    if call.max_response_bytes > settings.max_response_bytes:
        raise PermanentError(f"max_response_bytes may be at most {settings.max_response_bytes}.")


def _is_listed(host: str, patterns: frozenset[str]) -> bool:
    listed = {pattern.lower() for pattern in patterns}
    parents = host.split(".")[1:]
    return host in listed or any("*." + ".".join(parents[start:]) in listed for start in range(len(parents)))


@contextmanager
def _answer(call: Call, target: Target, settings: HttpSettings, network: GuardedNetwork) -> Iterator[httpcore.Response]:
    """Lend the answer, its body unread; whatever the library raises comes out as one of our errors."""
    content = _content(call)
    url = httpcore.URL(
        scheme=target.scheme.encode(),
        host=target.host.encode(),
        port=target.port,
        target=target.path_and_query.encode(),
    )
    secure = trust(settings.ca_file) if target.scheme == "https" else None
    headers = _request_headers(call, target)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=secure, network_backend=network, max_connections=1) as pool,
            pool.stream(call.method, url, headers=headers, content=content) as answer,
        ):
            yield answer
    except httpcore.LocalProtocolError:
        raise PermanentError("The request's method or header fields are malformed.") from None
    except (httpcore.ProtocolError, httpcore.NetworkError):
        raise BrokenAnswerError(f"{target.site} broke off, or does not speak HTTP.") from None


def _content(call: Call) -> bytes | None:
    """Return the bytes to send; empty ones, and not none, when the method means something to be sent."""
    if call.body is None:
        return b"" if call.method in {"POST", "PUT", "PATCH"} else None
    if isinstance(call.body, str):
        return call.body.encode()
    return json.dumps(call.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _request_headers(call: Call, target: Target) -> list[tuple[str, str]]:
    """Return the caller's header fields, and ours where the caller has none of that name."""
    ours = {"Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
    if call.body is not None:
        ours["Content-Type"] = "text/plain; charset=utf-8" if isinstance(call.body, str) else "application/json"
    if call.idempotency_key is not None:
        ours["Idempotency-Key"] = call.idempotency_key
    theirs = {name.lower() for name in call.headers}
    fields = [("Host", target.host_header), ("Connection", "close"), *call.headers.items()]
    fields += [(name, value) for name, value in ours.items() if name.lower() not in theirs]
    return fields


def _judge(call: Call, target: Target, status: int, headers: httpx.Headers) -> None:
    """Return when `status` is expected; raise what the job should make of it otherwise."""
    is_success = httpx.codes.is_success(status)
    if is_success if call.expected_statuses is None else status in call.expected_statuses:
        return
    message = f"{target.site} answered {status}."
    if status in PATIENCE_STATUSES and "retry-after" in headers:
        now = datetime.now(UTC)
        # The server's own clock, if it shows it, is the one that its date was made with.
        now = parse_http_date(headers.get("date", ""), now) or now
        wait = parse_retry_after(headers["retry-after"], now)
        if wait is not None:
            raise Throttled(message, retry_after=wait)
    if status == TOO_MANY_REQUESTS or httpx.codes.is_server_error(status):
        raise ServerTroubleError(message)
    raise PermanentError(message)


def _kept(headers: httpx.Headers) -> tuple[dict[str, str], bool]:
    kept: dict[str, str] = {}
    room = MAX_KEPT_HEADER_BYTES
    for name, value in headers.items():
        room -= len(name) + len(value)
        if room < 0 or len(kept) == MAX_KEPT_HEADERS:
            return kept, True
        kept[name] = value
    return kept, False
