"""Judges a run from its event log and the workers' own witness records.

It has its own SQL and its own literals: it imports nothing of the code that it judges.
"""
