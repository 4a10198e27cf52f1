"""How often, how long and how well each task runs."""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Series, Variable
from deploy.grafana.queries import quantiles, rate, stored_rate

_QUEUE: Final = Variable("queue", "penstock_jobs", "queue")
_TASK: Final = Variable("task", "penstock_jobs_accepted_total", "task")
_OF_TASK: Final = 'task=~"$task",queue=~"$queue"'

TASKS: Final = Dashboard(
    "tasks",
    "Tasks",
    [
        Panel(
            "Accepted",
            "Jobs a second, by task.",
            "ops",
            [Series(stored_rate("penstock_jobs_accepted_total", "task", "queue", _OF_TASK), "{{task}}")],
        ),
        Panel(
            "Finished, by state",
            "Jobs a second of the chosen tasks together that came to a final state.",
            "ops",
            [Series(stored_rate("penstock_jobs_finished_total", "state", "task, queue", _OF_TASK), "{{state}}")],
            stacked=True,
        ),
        Panel(
            "Share of failures",
            "Of the jobs that finished, those that failed for good.",
            "percentunit",
            [
                Series(
                    stored_rate("penstock_jobs_finished_total", "task", "queue", _OF_TASK + ',state="failed"')
                    + " / "
                    + stored_rate("penstock_jobs_finished_total", "task", "queue, state", _OF_TASK),
                    "{{task}}",
                )
            ],
        ),
        Panel(
            "Attempts, by outcome",
            "A second, of the chosen tasks together. Lost: the process that ran it died.",
            "ops",
            [Series(rate("penstock_attempts_finished_total", "outcome", _OF_TASK), "{{outcome}}")],
            stacked=True,
        ),
        Panel(
            "Run time",
            "Of one attempt, of the chosen tasks together.",
            "s",
            list(quantiles("penstock_run_seconds", _OF_TASK)),
        ),
        Panel(
            "Run time of each task, 95th percentile",
            "Of one attempt.",
            "s",
            [
                Series(
                    "histogram_quantile(0.95, " + rate("penstock_run_seconds_bucket", "task, le", _OF_TASK) + ")",
                    "{{task}}",
                )
            ],
        ),
        Panel(
            "Wait for the first start, 95th percentile",
            "From when a job was accepted, or due if that was later.",
            "s",
            [
                Series(
                    "histogram_quantile(0.95, "
                    + rate("penstock_queue_wait_seconds_bucket", "task, le", _OF_TASK)
                    + ")",
                    "{{task}}",
                )
            ],
        ),
        Panel(
            "From acceptance to the end, 95th percentile",
            "Waits, attempts and the pauses between them.",
            "s",
            [
                Series(
                    "histogram_quantile(0.95, "
                    + rate("penstock_end_to_end_seconds_bucket", "task, le", _OF_TASK)
                    + ")",
                    "{{task}}",
                )
            ],
        ),
        Panel(
            "Retries",
            "Jobs a second that were put off to another attempt.",
            "ops",
            [Series(stored_rate("penstock_jobs_retried_total", "task", "queue", _OF_TASK), "{{task}}")],
        ),
        Panel(
            "Dead letters",
            "Failed jobs that nobody has replayed or discarded.",
            "short",
            [Series("sum by (task) (max by (task, queue) (penstock_dead_letters{" + _OF_TASK + "}))", "{{task}}")],
        ),
        Panel(
            "Fenced attempts",
            "A second whose end was refused, because the job had another attempt or none by then.",
            "ops",
            [Series(rate("penstock_attempts_fenced_total", "task", _OF_TASK), "{{task}}")],
        ),
        Panel(
            "Work under way",
            "Seconds of work a second: how many slots the task uses on average.",
            "short",
            [Series(rate("penstock_run_seconds_sum", "task", _OF_TASK), "{{task}}")],
            stacked=True,
        ),
    ],
    [_QUEUE, _TASK],
)
