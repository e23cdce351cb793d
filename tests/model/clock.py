"""The database's own clock in the model's hand: the product's SQL asks it as ever, and time passes at our word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.backends.signals import connection_created

START: Final = datetime(2030, 1, 1, tzinfo=UTC)

#: Found before the functions of pg_catalog, since the search path names that later.
POSTGRESQL_FUNCTIONS: Final = """
CREATE SCHEMA IF NOT EXISTS model_clock;
CREATE OR REPLACE FUNCTION model_clock.clock_timestamp() RETURNS timestamptz
    AS $$ SELECT current_setting('model.now')::timestamptz $$ LANGUAGE sql VOLATILE;
CREATE OR REPLACE FUNCTION model_clock.statement_timestamp() RETURNS timestamptz
    AS $$ SELECT current_setting('model.now')::timestamptz $$ LANGUAGE sql VOLATILE;
"""


class Clock:
    """Counts milliseconds, the grain of SQLite's clock. One for the whole process."""

    def __init__(self) -> None:
        self._elapsed_ms = 0

    @property
    def seconds(self) -> float:
        """What the loops know as monotonic seconds."""
        return 1000.0 + self._elapsed_ms / 1000

    @property
    def now(self) -> datetime:
        return START + timedelta(milliseconds=self._elapsed_ms)

    def reset(self) -> None:
        self._elapsed_ms = 0
        self._tell_postgresql()

    def advance(self, seconds: float) -> None:
        self._elapsed_ms += round(seconds * 1000)
        self._tell_postgresql()

    def step(self) -> None:
        """A moment of its own for the call that follows: nothing depends on what happens at the very same time."""
        self.advance(0.001)

    def install(self) -> None:
        """After the migrations: on PostgreSQL new tables would land in the clock's schema."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(POSTGRESQL_FUNCTIONS)
        connection_created.connect(self._connected)
        connection.close()
        connection.ensure_connection()

    def _connected(self, connection: Any, **_: Any) -> None:
        if connection.vendor == "sqlite":
            # A function of the same name takes the built-in one's place.
            connection.connection.create_function("strftime", 2, self._strftime)
            return
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = model_clock, pg_catalog, public")
        self._tell_postgresql()

    def _strftime(self, form: str, moment: str) -> str:
        if moment.upper() != "NOW":
            raise ValueError(f"the model's clock tells only NOW, not {moment!r}")
        return self.now.strftime(form.replace("%f", f"%S.{self._elapsed_ms % 1000:03d}"))

    def _tell_postgresql(self) -> None:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('model.now', %s, false)", [self.now.isoformat()])
