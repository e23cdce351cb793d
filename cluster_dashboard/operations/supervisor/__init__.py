"""Keeps the processes of one machine alive: a guardian, its supervisor, and the supervisor's children."""
