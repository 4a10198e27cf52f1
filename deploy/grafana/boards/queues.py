"""What waits, moves and stands still in each queue."""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Series, Variable
from deploy.grafana.queries import quantiles, rate

_QUEUE: Final = Variable("queue", "penstock_jobs", "queue")
_IN_QUEUE: Final = 'queue=~"$queue"'

QUEUES: Final = Dashboard(
    "queues",
    "Queues",
    [
        Panel(
            "Ready jobs",
            "Due, and not started yet.",
            "short",
            [Series('penstock:jobs:now{state="queued",queue=~"$queue"}', "{{queue}}")],
        ),
        Panel(
            "Oldest ready job",
            "For how long the ready job that waits the longest has waited.",
            "s",
            [Series("penstock:oldest_waiting_seconds:now{" + _IN_QUEUE + "}", "{{queue}}")],
        ),
        Panel(
            "Accepted",
            "Jobs a second that came into each queue.",
            "ops",
            [Series("penstock:jobs_accepted:rate5m{" + _IN_QUEUE + "}", "{{queue}}")],
        ),
        Panel(
            "Finished",
            "Jobs a second that came to a final state, by queue and state.",
            "ops",
            [Series("penstock:jobs_finished:rate5m{" + _IN_QUEUE + "} > 0", "{{queue}} {{state}}")],
        ),
        Panel(
            "Wait for the first start",
            "From when a job was accepted, or due if that was later.",
            "s",
            list(quantiles("penstock_queue_wait_seconds", _IN_QUEUE)),
        ),
        Panel(
            "Unfinished jobs by state",
            "Of the chosen queues together.",
            "short",
            [
                Series(
                    "sum by (state) (penstock:jobs:now{" + _IN_QUEUE + ',state=~"scheduled|queued|running|retrying"})',
                    "{{state}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Without a doorbell",
            "Ready jobs that no doorbell speaks of: the backlog beyond the window. Few that last: nobody rings.",
            "short",
            [Series("penstock:jobs_unrung:now{" + _IN_QUEUE + "}", "{{queue}}")],
        ),
        Panel(
            "Live workers",
            "That serve the queue. A queue at 0 does not move.",
            "short",
            [Series("penstock:queue_workers:now{" + _IN_QUEUE + "}", "{{queue}}")],
        ),
        Panel(
            "Paused",
            "Somebody has paused the queue: nothing of it is started.",
            "bool_yes_no",
            [Series("max by (queue) (penstock_queue_paused{" + _IN_QUEUE + "})", "{{queue}}")],
        ),
        Panel(
            "Dead letters",
            "Failed jobs that nobody has replayed or discarded.",
            "short",
            [Series("penstock:dead_letters:now{" + _IN_QUEUE + "}", "{{queue}}")],
        ),
        Panel(
            "Doorbells",
            "A second. Failed ones are rung again; unconfirmed ones were sent and may have arrived.",
            "ops",
            [
                Series(rate("penstock_doorbells_rung_total", "job"), "rung by {{job}}"),
                Series(rate("penstock_doorbells_failed_total", "job"), "failed in {{job}}"),
                Series(rate("penstock_doorbells_unconfirmed_total", "job"), "unconfirmed in {{job}}"),
            ],
        ),
        Panel(
            "Unreadable messages",
            "A second that are no doorbell, and went to the dead queue.",
            "ops",
            [Series(rate("penstock_messages_unreadable_total", "queue", _IN_QUEUE), "{{queue}}")],
        ),
    ],
    [_QUEUE],
)
