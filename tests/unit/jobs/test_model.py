"""What Python shows of jobs and attempts: libraries log what they are given, Celery's pool among them."""

from tests.factories import attempt, new_job


def test_a_payload_is_no_part_of_what_is_shown() -> None:
    shown = repr([attempt(payload='"sesame"'), new_job(payload='"sesame"')])

    assert "sesame" not in shown
    assert "payload" not in shown
