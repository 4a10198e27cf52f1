"""What may happen to jobs, each step done on real PostgreSQL and beside it to a model that says what must be true."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import Engine, delete, func

from api import replays
from jobs import attempts as life
from jobs import census, control, upkeep
from jobs.database import transaction
from jobs.errors import NotFound, StaleTransition, UniqueKeyTaken
from jobs.model import DEFAULT_TENANT, Acceptance, JobId, Settlement, Taken, Verdict
from jobs.retry import CRASH_LIMIT
from jobs.state import FINAL, TRANSITIONS, UNFINISHED, WAITING, Event, JobState, Outcome, Reason
from jobs.tables import metadata
from tests.factories import cancelled, failure, new_job, release, rescue, retry, submission, success, throttled
from tests.integration.jobs import scenes
from tests.integration.jobs.walk_model import FACTS, Model

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])
HOUR = 3600.0
VERDICTS = [success(), failure(), cancelled(), release(), rescue(), throttled(seconds=HOUR), retry(seconds=HOUR),
            retry(seconds=0), retry(seconds=HOUR, outcome=Outcome.TIMED_OUT),
            failure(Reason.CRASHED, Outcome.LOST)]  # fmt: skip


Token = tuple[JobId, int]

#: Which job or attempt a rule takes: three times of four one that the rule may move, if there is one, else any.
CHOICE = st.integers(0, 399)


def chosen(choice: int, every: Sequence[T], fitting: Sequence[T]) -> T:
    from_these = fitting if fitting and choice % 4 else every
    return from_these[choice // 4 % len(from_these)]


def _a_rule(method: F, condition: Callable[[Any], bool], strategies: dict[str, Any]) -> F:
    ruled: Any = rule(choice=CHOICE, **strategies)(method)  # type: ignore[no-untyped-call]  # hypothesis leaves it untyped
    return cast("F", precondition(condition)(ruled))


def with_jobs(**strategies: Any) -> Callable[[F], F]:
    """Make a method a rule that happens once there are jobs."""

    def decorate(method: F) -> F:
        return _a_rule(method, lambda self: bool(self.models), strategies)

    return decorate


def with_tokens(**strategies: Any) -> Callable[[F], F]:
    """Make a method a rule that happens once there were attempts."""

    def decorate(method: F) -> F:
        return _a_rule(method, lambda self: bool(self.tokens), strategies)

    return decorate


def with_letters(**strategies: Any) -> Callable[[F], F]:
    """Make a method a rule that happens once there is a dead letter."""

    def decorate(method: F) -> F:
        return _a_rule(method, lambda self: bool(self.letters()), strategies)

    return decorate


class Lives(RuleBasedStateMachine):
    """Everything that may happen to jobs, in any order."""

    engine: ClassVar[Engine]

    def __init__(self) -> None:
        """Begin with no job at all."""
        super().__init__()
        self.models: dict[JobId, Model] = {}
        self.tokens: list[Token] = []
        with transaction(self.engine) as connection:
            for table in metadata.sorted_tables:
                connection.execute(delete(table))

    def job(self, choice: int, *states: JobState) -> JobId:
        return chosen(choice, list(self.models), [i for i, model in self.models.items() if model.state in states])

    def token(self, choice: int) -> Token:
        return chosen(choice, self.tokens, [token for token in self.tokens if self.holds(token)])

    # Intake

    @initialize(count=st.integers(1, 4), letter=st.booleans(), unique_key=st.sampled_from([None, "a"]))
    def submit_some(self, count: int, letter: bool, unique_key: str | None) -> None:
        """Begin with some jobs, of which one may have failed already: short walks seldom come so far."""
        if letter:
            self.submit(later=False, unique_key=unique_key)
            self.start(choice=1)
            self.finish(choice=1, verdict=failure())
        for _ in range(count):
            self.submit(later=False, unique_key=None)

    @rule(later=st.booleans(), unique_key=st.sampled_from([None, None, "a", "b"]))
    def submit(self, later: bool, unique_key: str | None) -> None:
        job = new_job(delay=timedelta(hours=1) if later else None, unique_key=unique_key)
        (answer,) = scenes.submit(self.engine, submission(job))

        if self.holders(unique_key):
            assert isinstance(answer, UniqueKeyTaken)
            assert answer.facts["existing_job_id"] in map(str, self.holders(unique_key))
            return
        assert isinstance(answer, Acceptance)
        self.models[job.id] = Model(JobState.SCHEDULED if later else JobState.QUEUED, unique_key, rung=not later)

    def holders(self, unique_key: str | None) -> list[JobId]:
        """Return the unfinished jobs with this key."""
        held = [i for i, model in self.models.items() if model.unique_key == unique_key and model.state in UNFINISHED]
        return held if unique_key else []

    # Workers

    @with_jobs()
    def start(self, choice: int) -> None:
        job_id = self.job(choice, JobState.QUEUED)
        model = self.models[job_id]
        begun = scenes.start(self.engine, job_id, lease=timedelta(hours=1))

        assert bool(begun) == (model.state is JobState.QUEUED and not model.is_outdated)
        if not begun:
            return
        model.attempt += 1
        model.outcomes.append(None)
        model.move(Event.START)
        (attempt,) = begun
        assert (attempt.number, attempt.error_count, attempt.crash_count, attempt.throttle_count) == (
            model.attempt, model.error_count, model.crash_count, model.throttle_count,
        )  # fmt: skip
        self.tokens.append((job_id, attempt.number))

    def holds(self, token: Token) -> bool:
        """Tell whether this attempt may still write."""
        model = self.models[token[0]]
        return model.state is JobState.RUNNING and model.attempt == token[1]

    @with_tokens()
    def extend(self, choice: int) -> None:
        token = self.token(choice)
        with transaction(self.engine) as connection:
            held = life.extend(connection, [token], lease=timedelta(hours=1))

        if self.holds(token):
            model = self.models[token[0]]
            assert held == [life.Held(*token, model.cancel_requested)]
            model.is_lease_over = False
        else:
            assert held == []

    @with_tokens()
    def report(self, choice: int) -> None:
        token = self.token(choice)
        with transaction(self.engine) as connection:
            assert life.progress(connection, *token, {"step": 1}) == self.holds(token)

    @with_tokens(verdict=st.sampled_from(VERDICTS))
    def finish(self, choice: int, verdict: Verdict) -> None:
        token = self.token(choice)
        model, (_, number), outcome = self.models[token[0]], token, verdict.outcome.value
        done = scenes.finish(self.engine, Settlement(*token, verdict))

        if self.holds(token):
            model.end_attempt(verdict.event, verdict.outcome, verdict.reason)
            model.is_due = verdict.event is Event.RETRY and not verdict.retry_in
            assert done == [life.Settled(*token, model.state)]
            return
        assert done == []
        was_taken = model.outcomes[number - 1] in {None, Outcome.LOST.value} - {outcome}
        if was_taken and (number, outcome) not in model.fenced:
            model.fenced.add((number, outcome))
            model.told.append("fenced")

    # People

    @with_jobs()
    def cancel(self, choice: int) -> None:
        job_id = self.job(choice, *(WAITING if choice % 3 else {JobState.RUNNING}))
        model, answer = self.models[job_id], self.asked(control.cancel, job_id)

        if model.state in WAITING:
            model.move(Event.CANCEL)
            model.cancel_requested = True
        elif model.state is JobState.RUNNING and not model.cancel_requested:
            model.cancel_requested = True
            model.told.append("cancel_requested")
        stale = model.state in FINAL - {JobState.CANCELLED}
        assert isinstance(answer, StaleTransition) if stale else answer is model.state

    @with_jobs()
    def redrive(self, choice: int) -> None:
        job_id = self.job(choice, JobState.FAILED, JobState.RETRYING, JobState.EXPIRED)
        model, answer = self.models[job_id], self.asked(control.retry, job_id)

        if model.state not in TRANSITIONS[Event.REDRIVE].sources:
            assert isinstance(answer, StaleTransition)
        elif set(self.holders(model.unique_key)) - {job_id}:
            assert isinstance(answer, UniqueKeyTaken)
        else:
            assert not isinstance(answer, Exception)
            model.move(Event.REDRIVE, rung=True)
            model.error_count = model.crash_count = model.throttle_count = 0
            model.cancel_requested = model.closed = model.is_outdated = False

    @with_jobs()
    def close(self, choice: int) -> None:
        job_id = self.job(choice, JobState.FAILED)
        model, answer = self.models[job_id], self.asked(control.close, job_id)

        if model.is_open_letter:
            model.closed = True
            model.told.append("discarded")
            assert answer is None
        else:
            assert isinstance(answer, NotFound)

    @with_letters(letter=st.booleans())
    def replay_a_letter(self, choice: int, letter: bool) -> None:
        letters = self.letters()
        self.replay_one(letters[choice % len(letters)], letter=letter)

    @with_jobs(letter=st.booleans())
    def replay(self, choice: int, letter: bool) -> None:
        self.replay_one(self.job(choice, JobState.FAILED), letter=letter)

    def letters(self) -> list[JobId]:
        """Return the dead letters that nobody has dealt with."""
        return [job_id for job_id, model in self.models.items() if model.is_open_letter]

    def replay_one(self, job_id: JobId, *, letter: bool) -> None:
        model, answer = self.models[job_id], self.replayed(job_id, letter=letter)

        if model.state not in FINAL:
            assert isinstance(answer, NotFound if letter else StaleTransition)
        elif self.holders(model.unique_key):
            assert isinstance(answer, UniqueKeyTaken)
        elif letter and not model.is_open_letter:
            assert isinstance(answer, NotFound)
        else:
            (new,) = answer
            self.models[new] = Model(JobState.QUEUED, model.unique_key, rung=True, replay_of=job_id)
            if model.is_open_letter:
                model.closed = True
                model.told.append("replayed")

    def replayed(self, job_id: JobId, *, letter: bool) -> Any:
        """Return the jobs that are to be rung for, or the refusal."""
        wanted: dict[str, Any] = {"tenant": DEFAULT_TENANT, "changes": {}, "key": None, "check": lambda _job: None}
        try:
            _, doorbells = replays.replay(self.engine, job_id, letter=letter, **wanted)
        except (NotFound, StaleTransition, UniqueKeyTaken) as refusal:
            return refusal
        return [bell.id for bell in doorbells]

    def asked(self, action: Any, job_id: JobId) -> Any:
        """Return the answer, or the refusal."""
        try:
            with transaction(self.engine) as connection:
                return action(connection, job_id)
        except (NotFound, StaleTransition, UniqueKeyTaken) as refusal:
            return refusal

    # Time passes

    @with_jobs()
    def come_due(self, choice: int) -> None:
        job_id = self.job(choice, JobState.SCHEDULED, JobState.RETRYING)
        scenes.make_due(self.engine, job_id)
        self.models[job_id].is_due = True

    @with_jobs()
    def become_outdated(self, choice: int) -> None:
        job_id = self.job(choice, *WAITING)
        scenes.change(self.engine, job_id, expires_at=func.now())
        self.models[job_id].is_outdated = True

    @with_tokens()
    def lose_worker(self, choice: int) -> None:
        token = self.token(choice)
        if self.holds(token):
            scenes.let_lease_run_out(self.engine, token[0])
            self.models[token[0]].is_lease_over = True

    # Upkeep

    def kept_up(self, step: Any, *arguments: Any) -> Any:
        """Run one step of upkeep and return its answer; doorbells and jobs that were taken as the set of their ids."""
        with transaction(self.engine) as connection:
            answer = step(connection, *arguments)
        if not isinstance(answer, list):
            return answer
        return {one.job_id if isinstance(one, Taken) else one.id for one in answer}

    @rule()
    def release_due(self) -> None:
        ready = {
            job_id
            for job_id, model in self.models.items()
            if model.state in {JobState.SCHEDULED, JobState.RETRYING} and model.is_due
        }

        assert self.kept_up(upkeep.release_due) == len(ready)
        for job_id in ready:
            self.models[job_id].move(Event.ENQUEUE, rung=False)

    @rule()
    def rescue_lost(self) -> None:
        lost = [model for model in self.models.values() if model.is_lease_over]
        for model in lost:
            crashes = model.crash_count + 1
            dead = crashes >= CRASH_LIMIT and not model.cancel_requested
            model.end_attempt(Event.FAIL if dead else Event.RESCUE, Outcome.LOST)
            model.crash_count, model.outcomes[-1] = crashes, Outcome.LOST.value

        assert len(self.kept_up(upkeep.rescue_lost)) == len(lost)

    @rule()
    def expire(self) -> None:
        gone = [model for model in self.models.values() if model.state in WAITING and model.is_outdated]

        assert len(self.kept_up(upkeep.expire)) == len(gone)
        for model in gone:
            model.move(Event.EXPIRE)

    @rule()
    def ring(self) -> None:
        silent = {i for i, model in self.models.items() if model.state is JobState.QUEUED and not model.rung}

        assert self.kept_up(upkeep.claim_unrung, "default") == silent
        for job_id in silent:
            self.models[job_id].rung = True

    @with_jobs()
    def lose_doorbell(self, choice: int) -> None:
        job_id = self.job(choice, JobState.QUEUED)
        self.kept_up(upkeep.mark_unrung, [job_id])
        if self.models[job_id].state is JobState.QUEUED:
            self.models[job_id].rung = False

    # What must be true

    def happened(self) -> set[str]:
        """Return everything that any job has been through."""
        return {name for model in self.models.values() for name in model.told}

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        with self.engine.connect() as connection:
            found = {job_id: tuple(facts) for job_id, *facts in connection.execute(FACTS)}

        assert found == {job_id: model.facts() for job_id, model in self.models.items()}

    @invariant()
    def the_census_is_what_the_models_add_up_to(self) -> None:
        with transaction(self.engine) as connection:
            census.fold(connection, 2)
            found = census.count(connection)

        closed = {census.CLOSED: sum(model.closed for model in self.models.values())}
        states = Counter(model.state.value for model in self.models.values() if not model.closed)
        unrung = [model for model in self.models.values() if model.state is JobState.QUEUED and not model.rung]
        assert Counter({one.state: one.now for one in found}) == states + Counter(closed)
        assert sum(one.unrung for one in found) == len(unrung)
        assert sum(one.born for one in found) == len(self.models)
        starts = sum(one.entered for one in found if one.state == JobState.RUNNING)
        assert starts == sum(model.attempt for model in self.models.values())

    def teardown(self) -> None:
        for job_id, model in self.models.items():
            assert scenes.told(self.engine, job_id) == model.told
            assert scenes.outcomes(self.engine, job_id) == model.outcomes
            scenes.assert_sound(self.engine, job_id)
