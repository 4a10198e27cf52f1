"""Runs under faults: what clients were told, what tasks did, and the checker that holds the tables to both."""
