"""Schedules: what is to be made into jobs, when, and what was decided about each instant."""
