"""How many requests, how fast, and what they wait for."""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Series
from deploy.grafana.queries import quantiles, rate

_INTAKE: Final = 'method="POST",route=~"/api/v1/jobs(/batch)?"'

API: Final = Dashboard(
    "api",
    "API",
    [
        Panel(
            "Submissions",
            "Answers a second to submissions, by status.",
            "reqps",
            [Series(rate("penstock_http_requests_total", "status", _INTAKE), "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Time of accepted submissions",
            "The promise is 100 ms for 95 %.",
            "s",
            list(quantiles("penstock_http_request_seconds", _INTAKE + ',status=~"2.."')),
        ),
        Panel(
            "Requests",
            "Answers a second, by route.",
            "reqps",
            [Series(rate("penstock_http_requests_total", "method, route"), "{{method}} {{route}}")],
        ),
        Panel(
            "Time of requests, 95th percentile",
            "By route. Long polls and streams last as long as they were asked to.",
            "s",
            [
                Series(
                    "histogram_quantile(0.95, " + rate("penstock_http_request_seconds_bucket", "route, le") + ")",
                    "{{route}}",
                )
            ],
        ),
        Panel(
            "Share of 5xx",
            "Of all answers under /api/v1. 5 % wakes somebody.",
            "percentunit",
            [Series("penstock:http_errors:ratio5m", "5xx")],
        ),
        Panel(
            "Sent away at once",
            "Requests a second that the gate refused before they were read, by problem.",
            "reqps",
            [Series(rate("penstock_requests_refused_total", "problem"), "{{problem}}")],
        ),
        Panel(
            "Commits",
            "From intake to the commit, for the first submission of a group.",
            "s",
            list(quantiles("penstock_commit_wait_seconds")),
        ),
        Panel(
            "Submissions that share a commit",
            "On average. It rises with the load, and that is what bears it.",
            "short",
            [
                Series(
                    rate("penstock_group_commit_size_sum", "instance")
                    + " / "
                    + rate("penstock_group_commit_size_count", "instance"),
                    "{{instance}}",
                )
            ],
        ),
        Panel(
            "Under way",
            "Connections, requests that are not answered yet, and long polls and streams among them.",
            "short",
            [
                Series("sum(penstock_connections)", "connections"),
                Series("sum(penstock_requests_under_way)", "requests"),
                Series("sum(penstock_readers_waiting)", "readers"),
            ],
        ),
        Panel(
            "Answered from an earlier one",
            "Submissions a second with an idempotency key that was there already.",
            "reqps",
            [Series(rate("penstock_jobs_replayed_total", "instance"), "{{instance}}")],
        ),
        Panel(
            "Connections to PostgreSQL",
            "In use, of those that each pool may hold.",
            "percentunit",
            [
                Series(
                    'max by (instance, pool) (penstock_pool_used{job="penstock-api"} / penstock_pool_limit)',
                    "{{instance}} {{pool}}",
                )
            ],
        ),
        Panel(
            "Waits for a connection",
            "The 95th percentile, by pool.",
            "s",
            [
                Series(
                    "histogram_quantile(0.95, "
                    + rate("penstock_pool_wait_seconds_bucket", "pool, le", 'job="penstock-api"')
                    + ")",
                    "{{pool}}",
                ),
            ],
        ),
        Panel(
            "No connection in time",
            "Requests a second that waited for a connection in vain, by pool.",
            "reqps",
            [Series(rate("penstock_pool_timeouts_total", "pool", 'job="penstock-api"'), "{{pool}}")],
        ),
        Panel(
            "Memory",
            "Of each API, its processes together.",
            "bytes",
            [Series('process_resident_memory_bytes{job="penstock-api"}', "{{instance}}")],
        ),
        Panel(
            "Processor",
            "Processors in use, by API, its processes together.",
            "short",
            [Series(rate("process_cpu_seconds_total", "instance", 'job="penstock-api"'), "{{instance}}")],
        ),
        Panel(
            "Releases",
            "How many processes run which release; two during a deployment.",
            "short",
            [Series("count by (version) (penstock_build_info)", "{{version}}")],
        ),
    ],
)
