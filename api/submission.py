"""From a request to a submission: everything that can be refused is refused here, before the database."""

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pydantic_core

from api.body import canonical, storable
from api.schemas import JobRequest, Retry
from jobs.errors import MalformedIdempotencyKey, RefusedError, UnknownQueue
from jobs.keys import Principal
from jobs.model import Idempotency, NewJob
from tasks.catalogue import Catalogue, TaskSpec

_LONGEST_KEY: Final = 255
_QUOTED_KEY: Final = re.compile(r'"(?P<key>(?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE_KEY: Final = re.compile(r"(?P<key>[!#-\[\]-~]*)")
_ESCAPED: Final = re.compile(r'\\(["\\])')


class Intake:
    """Checks requests against the installed tasks and the queues that exist."""

    def __init__(self, catalogue: Catalogue, queues: tuple[str, ...]) -> None:
        """Check against these."""
        self.catalogue = catalogue
        self.queues = queues

    def new_job(self, wanted: JobRequest, caller: Principal, *, request_id: str, traceparent: str) -> NewJob:
        """Return the job. Raises `UnknownTask`, `UnknownQueue`, `InvalidPayload`."""
        spec, queue = self.addressed(wanted.task, wanted.queue)
        payload = storable(wanted.payload)
        spec.check(payload)
        limit = wanted.time_limit
        return NewJob(
            task=wanted.task,
            payload=payload,
            queue=queue,
            priority=spec.priority if wanted.priority is None else wanted.priority,
            run_at=wanted.run_at,
            delay=None if wanted.delay_seconds is None else timedelta(seconds=wanted.delay_seconds),
            expires_at=wanted.expires_at,
            unique_key=wanted.unique_key,
            tags=tuple(wanted.tags),
            retry=override(wanted.retry),
            time_limit_seconds=limit.hard_seconds if limit else None,
            soft_time_limit_seconds=limit.soft_seconds if limit else None,
            tenant=caller.tenant,
            submitter=caller.key_id,
            request_id=request_id,
            traceparent=traceparent,
        )

    def addressed(self, task: str, queue: str | None) -> tuple[TaskSpec, str]:
        """Return the task, and the queue: that one, or the task's. Raises `UnknownTask`, `UnknownQueue`."""
        spec = self.catalogue[task]
        chosen = queue or spec.queue
        if chosen not in self.queues:
            known = ", ".join(sorted(self.queues))
            raise UnknownQueue(
                f"There is no queue {chosen!r}; there are {known}.",
                errors=[{"field": "queue", "message": "is unknown"}],
            )
        return spec, chosen

    def batch(
        self, wanted: list[JobRequest], caller: Principal, *, request_id: str, traceparent: str
    ) -> tuple[NewJob, ...]:
        """Return the jobs. Raises what `new_job` raises, with the index of the first that is refused."""
        made = []
        for index, one in enumerate(wanted):
            try:
                made.append(self.new_job(one, caller, request_id=request_id, traceparent=traceparent))
            except RefusedError as refusal:
                refusal.index = index
                raise
        return tuple(made)


def override(retry: Retry | None) -> str | None:
    """Return a job's retry wishes as they are stored: only those that were made."""
    wishes = retry.model_dump(exclude_none=True) if retry else {}
    return pydantic_core.to_json(wishes).decode() if wishes else None


def idempotency(headers: Sequence[str], *, route: str, body: bytes) -> Idempotency | None:
    """Return the key of the Idempotency-Key header with the fingerprint of the request; None: there is no header.

    The header is a structured-field string (RFC 9651, section 3.3.3); the bare form is taken too. `body` has
    been found to be JSON. Raises `MalformedIdempotencyKey`.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise MalformedIdempotencyKey("Send one Idempotency-Key, not several.")
    given = headers[0].strip(" \t")
    shaped = _QUOTED_KEY.fullmatch(given) or _BARE_KEY.fullmatch(given)
    key = _ESCAPED.sub(r"\1", shaped["key"]) if shaped else ""
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise MalformedIdempotencyKey
    digest = hashlib.sha256(b"POST " + route.encode() + b"\n" + canonical(body)).digest()
    return Idempotency(key, digest)
