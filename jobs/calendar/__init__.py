"""When a schedule's instants are: cron, intervals and single dates in IANA time zones; pure, no clock and no store.

``cron`` reads an expression, ``timing`` holds what a schedule says about time, ``instants`` answers which
instants follow from it. ``zones`` knows the clocks. The rules are written in docs/explanation/clock-rules.md.
"""
