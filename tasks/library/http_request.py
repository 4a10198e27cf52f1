"""The task `http.request`."""

from typing import Annotated, Any, Literal

from celery import shared_task
from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from tasks.library.outbound import Call, HttpAnswer, send
from tasks.library.settings import HttpSettings
from tasks.library.urls import OutboundUrl

#: Fields that say where a request goes or how it is framed. Only the client itself may set them.
FRAMING_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _no_framing(headers: dict[str, str]) -> dict[str, str]:
    names = [name.lower() for name in headers]
    if taken := FRAMING_HEADERS.intersection(names):
        raise ValueError(f"these header fields are not the caller's to set: {', '.join(sorted(taken))}")
    if len(set(names)) < len(names):
        raise ValueError("a header field is given twice")
    return headers


Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: A token, and visible ASCII with inner spaces (RFC 9110 sections 5.1 and 5.5): no line break gets in.
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
HeaderValue = Annotated[
    str, StringConstraints(pattern=r"^([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?$", max_length=8192)
]
Headers = Annotated[dict[HeaderName, HeaderValue], Field(max_length=64), AfterValidator(_no_framing)]
Status = Annotated[int, Field(ge=200, le=599)]
Statuses = Annotated[list[Status], Field(min_length=1, max_length=32)]


@shared_task(
    name="http.request",
    bind=True,
    max_retries=5,
    retry_backoff=2,
    retry_backoff_max=600,
    soft_time_limit=330,
    time_limit=360,
)
def request(
    self: Any,
    *,
    url: OutboundUrl,
    method: Annotated[Method, Field(description="GET unless given.")] = "GET",
    headers: Annotated[Headers | None, Field(description="Header fields to send.")] = None,
    body: Annotated[JsonValue, Field(description="Text is sent as it is, anything else as JSON.")] = None,
    expected_status: Annotated[Status | Statuses | None, Field(description="Any 2xx unless given.")] = None,
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=60, description="5 unless given.")] = 5,
    timeout_seconds: Annotated[float, Field(gt=0, le=300, description="For the whole call; 30 unless given.")] = 30,
    max_response_bytes: Annotated[int, Field(ge=0, description="Unpacked; 262144 unless given.")] = 256 * 1024,
) -> HttpAnswer:
    """Call an HTTP server and keep its answer.

    Raises what `tasks.library.outbound.send` raises. The job's id goes along as `Idempotency-Key`, because a job whose
    worker dies is run again.
    """
    call = Call(
        url=url,
        method=method,
        headers=headers or {},
        body=body,
        expected_statuses=_statuses(expected_status),
        connect_timeout_seconds=connect_timeout_seconds,
        timeout_seconds=timeout_seconds,
        max_response_bytes=max_response_bytes,
        idempotency_key=self.request.id,
    )
    return send(call, HttpSettings())


def _statuses(expected: int | list[int] | None) -> frozenset[int] | None:
    if expected is None:
        return None
    return frozenset([expected] if isinstance(expected, int) else expected)
