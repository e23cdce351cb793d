"""The warm image: everything that several processes need is loaded once, before the first fork, and shared."""

from __future__ import annotations

import gc
import importlib
import os
from typing import Final

from cluster_dashboard.operations import processes

#: What a Celery worker would load by itself when it starts, eight times. Found by comparing sys.modules.
SHARED_MODULES: Final = (
    "numpy.random",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.contrib.django.task",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "kombu.transport.redis",
    "billiard.popen_fork",
    "scheduler.loops.process",
    "scheduler.rules.queues",
    "gpu_tasks.worker.main",
)


def warm_up() -> None:
    """CUDA is not touched, no connection is opened, no thread is started."""
    processes.limit_blas_threads()
    # `up` has checked the project, and the catalogue is loaded below, which is what a worker needs of it: each would
    # check all of it again, and load every page for that.
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    gc.disable()
    for name in SHARED_MODULES:
        importlib.import_module(name)
    from scheduler.catalogue import catalogue  # noqa: PLC0415 (after the BLAS threads are limited)
    from scheduler.celery import app  # noqa: PLC0415

    app.loader.import_default_modules()
    app.finalize()
    catalogue()
    gc.collect()
    # Never looked at again: a collection would write to every object, and so copy every shared page.
    gc.freeze()
    gc.enable()
