"""The remedies against the known failures of Celery on Redis, each with a switch for tests only.

A remedy is worth something only if its test fails without it: `REMEDIES_OFF=fence,reaper` starts a cluster that
lacks these two. Never set it on a cluster that matters; every start with one of them off says so in its log.
"""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings


class Remedy(StrEnum):
    """What docs/failure-catalogue.md maps each known failure to."""

    #: The relay sends a lost hint again.
    RESEND = "resend"
    #: A claim is a compare-and-set: only the first of several deliveries starts the job.
    CLAIM_CHECK = "claim_check"
    #: A result is taken only with the attempt that is current.
    FENCE = "fence"
    #: A worker that no longer consumes though its queues are full starts itself anew.
    WATCHDOG = "watchdog"
    #: A job that costs its worker each time ends after its limit of charged failures.
    FAILURE_LIMIT = "failure_limit"
    #: Malformed messages go to the dead letters before the consumer sees them.
    GUARD = "guard"
    #: Socket timeouts: a frozen broker holds nobody up.
    BROKER_TIMEOUTS = "broker_timeouts"
    #: The window bounds what lies in Redis, and new jobs are refused before disk or broker is full.
    ADMISSION = "admission"
    #: Workers read the queues strictly by priority.
    QUEUE_ORDER = "queue_order"
    #: Long waiting jobs rise.
    AGEING = "ageing"
    #: A job's back-off stands in its row and is part of the claim.
    NOT_BEFORE = "not_before"
    #: A tick works once for its slot of time, whoever sends it.
    TICK_SLOTS = "tick_slots"
    #: CUDA is never touched before the fork.
    CUDA_AFTER_FORK = "cuda_after_fork"
    #: A job and all that it starts are killed as one group.
    PROCESS_GROUP = "process_group"
    #: A stop gives running work back without a charge.
    HAND_BACK = "hand_back"
    #: The live view needs no channel layer, and uses none that is configured.
    NO_CHANNEL_LAYER = "no_channel_layer"
    #: Whoever finds a death moves the row: nothing is "started" for ever.
    REAPER = "reaper"


def is_on(remedy: Remedy) -> bool:
    return remedy not in all_off()


def all_off() -> frozenset[Remedy]:
    found: frozenset[Remedy] = settings.REMEDIES_OFF
    return found
