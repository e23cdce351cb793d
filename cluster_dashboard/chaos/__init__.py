"""Scenarios that break the running cluster on purpose, and a scorecard of what happened."""
