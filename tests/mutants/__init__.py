"""Copies of the source that lack one protection each: what the protections prevent is seen there.

A mutant is a patch in this folder; its first line says what the patch takes away. docs/failure-catalogue.md and the
model (tests/model/test_mutants.py) use them.
"""
