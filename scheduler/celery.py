"""The Celery app and its settings, each with its reason. A message is only a hint: the row is the job."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Final

from celery import Celery
from celery.schedules import schedule
from celery.signals import setup_logging
from django.conf import settings
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from scheduler.broker.reconnect import PromptAMQP
from scheduler.broker.transport import GuardedChannel
from scheduler.redis_client import KEY_PREFIX
from scheduler.redis_url import celery_url
from scheduler.rules.queues import PLAIN_QUEUES

#: The queue of the beat-driven ticks.
CONTROL_QUEUE: Final = "control"

#: Between two heartbeat events of a worker. They are for Flower alone, which shows a worker as offline after twice this
#: time without one; the cluster itself judges by the heartbeats in Redis. Celery's own 2 s cost an idle worker much.
FLOWER_HEARTBEAT_SECONDS: Final = 10

_EXCHANGE: Final = Exchange("gpu-cluster", type="direct")


# Whatever the URL's form: nothing from Redis reaches a consumer past the guard.
_GUARDED: Final = "scheduler.broker.transport:GuardedTransport"
TRANSPORT_ALIASES.update(redis=_GUARDED, rediss=_GUARDED)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cluster_dashboard.settings")
app = Celery("gpu_cluster", broker=celery_url(settings.REDIS_URL), amqp=PromptAMQP, set_as_current=True)
GuardedChannel.known_tasks = staticmethod(lambda: app.tasks)

app.conf.update(
    # --- what a message may be
    task_serializer="json",
    accept_content=["json"],  # a pickle in the queue is refused, never loaded
    task_ignore_result=True,
    result_backend=None,  # the row is the result; a backend would be a second, weaker truth
    task_queues=[
        Queue(name, _EXCHANGE, routing_key=name, max_priority=None) for name in (*PLAIN_QUEUES, CONTROL_QUEUE)
    ],
    task_default_exchange=_EXCHANGE.name,
    task_default_queue=CONTROL_QUEUE,
    task_default_routing_key=CONTROL_QUEUE,
    task_create_missing_queues=False,  # a mistyped queue fails at once instead of filling unread
    task_protocol=2,
    # --- one job at a time, acknowledged when it has ended
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,  # an early reservation would hold a job behind a running one
    task_acks_late=True,
    # A poison job would be delivered again without limit; the process that finds the death charges the failure.
    task_reject_on_worker_lost=False,
    task_acks_on_failure_or_timeout=True,
    # --- the broker
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A broker with full memory or a full disk answers with errors: a worker that ended because of them would
    # charge its running job a failure.
    broker_channel_error_retry=True,
    broker_pool_limit=10,
    broker_transport_options={
        "global_keyprefix": KEY_PREFIX,
        # A hint that is not acknowledged for this time is delivered again. It limits no job: while the job runs, no
        # claim for the second hint succeeds, and the hint is dropped. Lost hints do not wait for it: the relay sends
        # them again after seconds.
        "visibility_timeout": 3600,
        "unacked_restore_interval": 10,
        # One list for each queue: message priorities inside a queue are not used.
        "priority_steps": [0],
        "queue_order_strategy": "scheduler.rules.queues:StrictOrder",
        # A frozen broker is noticed: without these a publish hangs for half a minute.
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "max_connections": 50,
        # Senders (beat, Flower) try again after 0.5 to 1 s, not after 2 to 30 s;
        # for consumers see scheduler.broker.reconnect.
        "interval_start": 0,
        "interval_step": 0.5,
        "interval_max": 1,
    },
    # --- the worker
    task_send_sent_event=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_log_color=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the claim is in the database
    worker_proc_alive_timeout=30,
    # Celery's Django fixup would close the connection before and after each task: half the throughput.
    CELERY_DB_REUSE_MAX=10**9,
    # --- beat
    timezone="UTC",
    beat_schedule={
        "generate": {
            "task": "scheduler.ticks.generate",
            "schedule": schedule(run_every=1.0),
            # A tick that waited longer is dropped: the next one does its work.
            "options": {"expires": 5, "queue": CONTROL_QUEUE, "routing_key": CONTROL_QUEUE},
        },
        "keep_history": {
            "task": "scheduler.ticks.keep_history",
            "schedule": schedule(run_every=10.0),
            "options": {"expires": 10, "queue": CONTROL_QUEUE, "routing_key": CONTROL_QUEUE},
        },
    },
    beat_max_loop_interval=1,
    imports=["scheduler.loops.ticks"],
)


def job_queue(name: str) -> Queue:
    """The queue, added to Celery if it is new: Celery knows only those of `task_queues`, not the queues of the tiers
    (scheduler.rules.queues)."""
    queues = app.amqp.queues
    if name not in queues:
        queues.add(Queue(name, _EXCHANGE, routing_key=name))
    return queues[name]


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """A receiver of this signal keeps Celery from configuring logging: Django's LOGGING stays in force."""


def worker_main(*, hostname: str, queues: Sequence[str], pool: str, task_events: bool) -> None:
    """Runs a Celery worker in this process until SIGTERM. Without gossip and mingle, which cost much of an idle
    worker's time and add nothing to the cluster's own heartbeats.

    task_events: whether Flower shows its tasks.
    """
    app.conf.worker_send_task_events = task_events
    # It accepts JSON only, never pickles: running as root is as safe as in the user's shell.
    warnings.filterwarnings("ignore", message=r"You're running the worker with superuser privileges")
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={','.join(queues)}",
            f"--hostname={hostname}@%h",
            f"--pool={pool}",
            "--concurrency=1",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            f"--heartbeat-interval={FLOWER_HEARTBEAT_SECONDS}",
        ]
    )
