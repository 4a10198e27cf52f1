"""Measures Penstock beside the stacks that people would build or take instead."""
