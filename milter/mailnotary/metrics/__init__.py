"""Counts of what the daemon does, and their way to Prometheus."""
