"""The two hot transactions as SQL: claim and finish. Written once for SQLite and PostgreSQL.

Raw as a whole because the ORM halves their throughput. Each statement shows the attempt: the fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The database's clock; on SQLite as the text that Django stores.
NOW: Final = {
    # Six digits after the point, as Django writes them: as text, .123 would be before .123000.
    "sqlite": "(STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW') || '000')",
    "postgresql": "CLOCK_TIMESTAMP()",
}

#: job, attempt, gpu, boot. Its condition is rules.placement.claim_refusal, which a test compares with this.
CLAIM: Final = """
UPDATE scheduler_job
   SET state = 'running', gpu = %(gpu)s, boot = %(boot)s, started_at = {now}, event_count = event_count + 1,
       fault_probability = CASE
           WHEN accepts_faults AND (SELECT fault_profile FROM scheduler_control WHERE id = 1) <> 'none'
           THEN COALESCE((SELECT failure_rate FROM scheduler_gpu WHERE "index" = %(gpu)s), 0) ELSE 0 END
 WHERE id = %(job)s AND state = 'queued' AND attempt = %(attempt)s AND NOT cancel_requested AND not_before <= {now}
   AND NOT EXISTS (SELECT 1 FROM scheduler_allocation WHERE gpu = %(gpu)s)
   AND gpu_memory_mib <= COALESCE((SELECT memory_total_mib FROM scheduler_gpu WHERE "index" = %(gpu)s), 0)
   AND NOT (gpu IS NOT NULL AND gpu = %(gpu)s AND elsewhere_until IS NOT NULL AND elsewhere_until > {now}
            AND EXISTS (SELECT 1 FROM scheduler_gpu
                         WHERE "index" <> %(gpu)s AND NOT drained AND quarantined = '' AND boot <> ''
                           AND COALESCE(memory_total_mib, 0) >= gpu_memory_mib))
RETURNING type, priority, params, source, accepts_faults, gpu_memory_mib, load, time_limit_seconds,
          started_at, event_count
"""

#: gpu, job, attempt
ALLOCATE: Final = "INSERT INTO scheduler_allocation (gpu, job_id, attempt) VALUES (%(gpu)s, %(job)s, %(attempt)s)"

#: job, attempt, state, reason, error, result
END: Final = """
UPDATE scheduler_job
   SET state = %(state)s, reason = %(reason)s, error = %(error)s, result = %(result)s, finished_at = {now},
       event_count = event_count + 1
 WHERE id = %(job)s AND state = 'running' AND attempt = %(attempt)s
RETURNING priority, gpu, boot, finished_at, event_count, type, accepts_faults, fault_probability
"""

#: job, attempt
RELEASE: Final = "DELETE FROM scheduler_allocation WHERE job_id = %(job)s AND attempt = %(attempt)s"

#: job, n, kind, at, attempt, gpu, boot, reason, detail. Not charged: only a requeue charges.
EVENT: Final = """
INSERT INTO scheduler_jobevent (job_id, n, kind, at, attempt, gpu, boot, reason, charged, detail)
VALUES (%(job)s, %(n)s, %(kind)s, %(at)s, %(attempt)s, %(gpu)s, %(boot)s, %(reason)s, FALSE, %(detail)s)
"""

#: hour, gpu, type, priority, outcome, reason, n, at_risk, expected
ROLL_UP: Final = """
INSERT INTO scheduler_rollup (hour, gpu, type, priority, outcome, reason, n, at_risk, expected)
VALUES (%(hour)s, %(gpu)s, %(type)s, %(priority)s, %(outcome)s, %(reason)s, %(n)s, %(at_risk)s, %(expected)s)
ON CONFLICT (hour, gpu, type, priority, outcome, reason) DO UPDATE
   SET n = scheduler_rollup.n + excluded.n, at_risk = scheduler_rollup.at_risk + excluded.at_risk,
       expected = scheduler_rollup.expected + excluded.expected
"""

#: count; returns the last of the ids
TAKE_IDS: Final = """
INSERT INTO scheduler_sequence (name, value) VALUES ('job', %(count)s)
ON CONFLICT (name) DO UPDATE SET value = scheduler_sequence.value + excluded.value
RETURNING value
"""


def tally(rows: int) -> str:
    """Adds n to each of `rows` counts. Positional parameters, since their number varies: shard, priority, word, n."""
    values = ", ".join(["(%s, %s, %s, %s)"] * rows)
    return (
        f"INSERT INTO scheduler_tally (shard, priority, word, n) VALUES {values} "  # noqa: S608 (placeholders only)
        "ON CONFLICT (shard, priority, word) DO UPDATE SET n = scheduler_tally.n + excluded.n"
    )


def for_vendor(statement: str, vendor: str) -> str:
    return statement.replace("{now}", NOW[vendor])


def one_row(cursor: Any, statement: str, params: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Executes a statement on either database; returns its first row, or None."""
    cursor.execute(for_vendor(statement, cursor.db.vendor), params)
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row
