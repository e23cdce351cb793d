"""The tests' settings, on the database of MODEL_DATABASE_URL if there is one; else on SQLite."""

import os

import dj_database_url

from tests.settings import *  # noqa: F403

if url := os.environ.get("MODEL_DATABASE_URL"):
    DATABASES = {"default": dj_database_url.parse(url, conn_max_age=None, conn_health_checks=False)}
# The model's own steps tell the story.
LOGGING = {**LOGGING, "root": {"handlers": ["stderr"], "level": "ERROR"}}  # noqa: F405
