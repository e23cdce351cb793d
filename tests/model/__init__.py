"""The protocol as a stateful Hypothesis model; see protocol.py. `make model` lets it search for long."""
