"""The one table of transitions: what may follow what."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.state import FINAL, INITIAL, TRANSITIONS, UNFINISHED, WAITING, Event, JobState, diagram

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"


def leaving(state: JobState) -> dict[Event, JobState]:
    """Return each event that may happen in `state`, with where it leads."""
    return {event: move.target for event, move in TRANSITIONS.items() if state in move.sources}


def reached_from(states: frozenset[JobState]) -> frozenset[JobState]:
    """Return `states` and all that can follow them."""
    seen = set(states)
    while fresh := {target for state in seen for target in leaving(state).values()} - seen:
        seen |= fresh
    return frozenset(seen)


def test_every_event_has_one_transition() -> None:
    assert set(TRANSITIONS) == set(Event)


def test_every_state_is_reached_from_the_initial_ones() -> None:
    assert reached_from(INITIAL) == set(JobState)


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_every_unfinished_job_can_still_end_in_success(state: JobState) -> None:
    assert JobState.SUCCEEDED in reached_from(frozenset({state}))


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_state_is_left_by_redrive_alone(state: JobState) -> None:
    assert set(leaving(state)) <= {Event.REDRIVE}


def test_success_is_left_by_nothing() -> None:
    assert leaving(JobState.SUCCEEDED) == {}


def test_only_start_leads_to_running() -> None:
    assert {event for event, move in TRANSITIONS.items() if move.target is JobState.RUNNING} == {Event.START}


def test_only_a_queued_job_starts() -> None:
    assert TRANSITIONS[Event.START].sources == {JobState.QUEUED}


def test_every_unfinished_job_can_be_cancelled() -> None:
    assert TRANSITIONS[Event.CANCEL].sources == UNFINISHED


def test_every_waiting_job_can_expire_and_no_running_one() -> None:
    assert TRANSITIONS[Event.EXPIRE].sources == WAITING


def test_final_waiting_and_running_are_all_states_and_do_not_overlap() -> None:
    assert FINAL | WAITING | {JobState.RUNNING} == set(JobState)
    assert not FINAL & WAITING
    assert WAITING | {JobState.RUNNING} == UNFINISHED


@given(st.data())
def test_a_walk_finishes_only_by_ending_events_and_runs_only_after_start(data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(sorted(INITIAL)))
    previous: Event | None = None

    for _ in range(data.draw(st.integers(0, 30))):
        choices = leaving(state)
        if not choices:
            break
        event = data.draw(st.sampled_from(sorted(choices)))
        if state in FINAL:
            assert event is Event.REDRIVE
        if event in {Event.SUCCEED, Event.RETRY, Event.FAIL, Event.RELEASE, Event.RESCUE}:
            assert previous is Event.START
        state, previous = choices[event], event

    assert (state in FINAL) == (previous in {Event.SUCCEED, Event.FAIL, Event.CANCEL, Event.EXPIRE})


def test_the_diagram_tells_every_transition_and_no_other() -> None:
    told = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", diagram(), re.MULTILINE))

    assert told == {
        (source.value, move.target.value, event.value) for event, move in TRANSITIONS.items() for source in move.sources
    }


def test_the_diagram_begins_in_the_initial_states_and_ends_in_the_final_ones() -> None:
    lines = diagram().splitlines()

    assert {line.split()[-1] for line in lines if line.strip().startswith("[*] -->")} == INITIAL
    assert {line.split()[0] for line in lines if line.endswith("--> [*]")} == FINAL


def test_the_reference_shows_the_diagram_of_the_code() -> None:
    shown = re.search(r"```mermaid\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)

    assert shown is not None
    assert shown[1] == diagram(), "paste what `python -c 'from jobs.state import diagram; print(diagram())'` prints"


@pytest.mark.parametrize("word", [*JobState, *Event])
def test_the_reference_explains_every_state_and_event(word: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)

    assert str(word) in rows
