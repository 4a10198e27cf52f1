"""Small histories of the API's own part: what it tells a client whose COMMIT was cut off."""

from sqlalchemy import Engine, text

from api.group_commit import commit
from jobs.database import transaction
from jobs.intake import Answer
from jobs.model import Submission
from tests.chaos.stage import Stage, plot

#: Ends the session that comes to its COMMIT first, and no other: a sequence is not taken back with its transaction.
_ENDED_AT_COMMIT = """
CREATE SEQUENCE commits;
CREATE FUNCTION end_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('commits') = 1 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER end_first AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION end_first();
"""


@plot()
def a_commit_that_is_cut_off(stage: Stage) -> None:
    """The database ends the session in the COMMIT: the transaction is undone, and the API is not told."""
    with transaction(stage.engine) as connection:
        connection.execute(text(_ENDED_AT_COMMIT))
    for job in stage.submit(hand_in=_commit):
        stage.carry_out(job)


def _commit(engine: Engine, submission: Submission) -> Answer:
    return commit(engine, [submission], frozenset())[0]
