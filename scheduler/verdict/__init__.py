"""Judges a run from its event log and the workers' own witness records.

Its SQL and its words are its own: it imports nothing of the code that it judges.
"""
