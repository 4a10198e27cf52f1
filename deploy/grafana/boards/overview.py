"""Is it well, at a glance?"""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Series

OVERVIEW: Final = Dashboard(
    "overview",
    "Overview",
    [
        Panel(
            "Alerts that fire",
            "How many of Penstock's alerts fire now, by severity. Nothing: none.",
            "short",
            [Series('count by (severity) (ALERTS{alertname=~"Penstock.+",alertstate="firing"})', "{{severity}}")],
            kind="stat",
            width=6,
        ),
        Panel(
            "Error budget left",
            "Of 30 days. At 0 the promise is broken; below, the budget is overdrawn.",
            "percentunit",
            [Series("penstock:slo_budget_left:ratio30d", "{{slo}}")],
            kind="stat",
            width=12,
        ),
        Panel(
            "Live workers",
            "Workers that PostgreSQL has heard of within 30 s.",
            "short",
            [Series("max(penstock_workers_alive)", "workers")],
            kind="stat",
            width=6,
        ),
        Panel(
            "Jobs in and out",
            "A second, of all queues. Where accepted stays above finished, a backlog grows.",
            "ops",
            [
                Series("sum(penstock:jobs_accepted:rate5m)", "accepted"),
                Series("sum(penstock:jobs_started:rate5m)", "started"),
                Series("sum(penstock:jobs_finished:rate5m)", "finished"),
            ],
        ),
        Panel(
            "Unfinished jobs",
            "By state. Scheduled and retrying jobs wait for their time, queued ones for a worker.",
            "short",
            [
                Series(
                    'sum by (state) (penstock:jobs:now{state=~"scheduled|queued|running|retrying"})',
                    "{{state}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Oldest ready job",
            "For how long the ready job that waits the longest has waited, by queue.",
            "s",
            [Series("penstock:oldest_waiting_seconds:now", "{{queue}}")],
        ),
        Panel(
            "Submissions, 95th percentile",
            "Time to answer accepted submissions. The promise is 100 ms.",
            "s",
            [Series("penstock:intake_seconds:p95", "p95")],
        ),
        Panel(
            "Burn rate over an hour",
            "How fast the error budget is used up; 1 uses it up in 30 days, 14.4 wakes somebody.",
            "short",
            [Series("penstock:slo_burn:ratio1h", "{{slo}}")],
        ),
        Panel(
            "Dead letters",
            "Failed jobs that nobody has replayed or discarded, by queue.",
            "short",
            [Series("penstock:dead_letters:now", "{{queue}}")],
        ),
        Panel(
            "Schedules overdue",
            "For how long the schedule that is overdue the longest has waited for a beat.",
            "s",
            [Series("max(penstock_schedules_overdue_seconds)", "overdue")],
        ),
        Panel(
            "Size of the database",
            "On the disk of PostgreSQL, indexes and all.",
            "bytes",
            [Series("max(penstock_database_bytes)", "database")],
        ),
        Panel(
            "Replica and archive",
            "For how long the replica may have missed something, and the archive has taken no WAL because it fails.",
            "s",
            [
                Series("max by (instance) (penstock_replica_lag_seconds)", "replica of {{instance}}"),
                Series("max(penstock_archive_failing_seconds)", "archive"),
            ],
        ),
    ],
)
