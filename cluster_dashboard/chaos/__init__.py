"""Scenarios that break the running cluster on purpose, and the scorecard of how it took it."""
