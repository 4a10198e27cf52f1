"""Workers and beats: are they there, busy, and sound?"""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Series
from deploy.grafana.queries import quantiles, rate

WORKERS: Final = Dashboard(
    "workers",
    "Workers and beats",
    [
        Panel(
            "Live workers",
            "That PostgreSQL has heard of within 30 s, and those that Prometheus reaches.",
            "short",
            [
                Series("max(penstock_workers_alive)", "heard of"),
                Series('count(up{job="penstock-worker"} == 1)', "answer their scrape"),
            ],
        ),
        Panel(
            "Slots in use",
            "Of each worker. Near 100 % for long: more workers are needed.",
            "percentunit",
            [Series("penstock_slots_busy / penstock_slots", "{{instance}}")],
        ),
        Panel(
            "Attempts begun",
            "A second, by worker.",
            "ops",
            [Series(rate("penstock_attempts_started_total", "instance"), "{{instance}}")],
        ),
        Panel(
            "Attempts lost and rescued",
            "A second. Lost: a process of the pool died. Rescued: a lease ran out, because a whole worker fell silent.",
            "ops",
            [
                Series(rate("penstock_attempts_finished_total", "job", 'outcome="lost"'), "lost"),
                Series(rate("penstock_upkeep_total", "job", 'step="rescue"'), "rescued"),
            ],
        ),
        Panel(
            "Doorbells without an attempt",
            "A second. Idle: the job needed none any more. Left: to workers of another release, or with other tasks.",
            "ops",
            [
                Series(rate("penstock_doorbells_idle_total", "job"), "idle"),
                Series(rate("penstock_doorbells_left_total", "job"), "left"),
            ],
        ),
        Panel(
            "Connections to the broker made anew",
            "A second, because nothing was started while jobs waited.",
            "ops",
            [Series(rate("penstock_consumer_restarts_total", "instance"), "{{instance}}")],
        ),
        Panel(
            "Memory",
            "Of each worker and beat, its children and all.",
            "bytes",
            [Series('process_resident_memory_bytes{job=~"penstock-(worker|beat)"}', "{{instance}}")],
        ),
        Panel(
            "Processor",
            "Processors in use, by worker and beat, their children and all.",
            "short",
            [Series(rate("process_cpu_seconds_total", "instance", 'job=~"penstock-(worker|beat)"'), "{{instance}}")],
        ),
        Panel(
            "Processes",
            "Of each worker: the main one and its pool.",
            "short",
            [Series('penstock_processes{job="penstock-worker"}', "{{instance}}")],
        ),
        Panel(
            "Connections to PostgreSQL",
            "In use, of those that each pool may hold.",
            "percentunit",
            [
                Series(
                    'max by (instance, pool) (penstock_pool_used{job=~"penstock-(worker|beat)"} / penstock_pool_limit)',
                    "{{instance}} {{pool}}",
                )
            ],
        ),
        Panel(
            "Upkeep",
            "Jobs a second that beats moved or rang for, by step.",
            "ops",
            [Series(rate("penstock_upkeep_total", "step"), "{{step}}")],
        ),
        Panel(
            "Steps of upkeep that fail",
            "A second, by step. The log of the beats says why.",
            "ops",
            [Series(rate("penstock_upkeep_failures_total", "step"), "{{step}}")],
        ),
        Panel(
            "Overdue jobs",
            "Since when upkeep should have moved the first job of each state; running: whose lease ran out.",
            "s",
            [Series("max by (state) (penstock_overdue_seconds)", "{{state}}")],
        ),
        Panel(
            "Rounds of upkeep",
            "Time of one round.",
            "s",
            list(quantiles("penstock_upkeep_seconds")),
        ),
        Panel(
            "Decisions about instants",
            "A second, by what was decided and why. Skipped and missed: no beat was there in time.",
            "ops",
            [Series(rate("penstock_occurrences_total", "decision, reason"), "{{decision}} {{reason}}")],
        ),
        Panel(
            "Lateness of schedules",
            "From an instant to its job. The promise is a second.",
            "s",
            list(quantiles("penstock_schedule_lateness_seconds")),
        ),
    ],
)
