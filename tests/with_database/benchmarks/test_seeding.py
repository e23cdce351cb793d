"""A made-up history is one that could have been: the verdict's rules and the books agree with it."""

from __future__ import annotations

import pytest
from django.db.models import Sum

from scheduler.jobs.clock import database_now
from scheduler.models import Allocation, Job, JobEvent, Rollup, Tally
from scheduler.rules.states import TERMINAL_STATES
from scheduler.verdict import judge
from tests.benchmarks import seeding
from tests.build import queued

pytestmark = pytest.mark.usefixtures("transactional_db")


def seed_history(jobs: int, *, days: float = 29, seed: int = 1) -> int:
    return seeding.seed(jobs, days=days, gpus=8, seed=seed)


def test_it_makes_as_many_finished_jobs_as_asked():
    assert seed_history(jobs=300) == 300

    assert Job.objects.filter(state__in=TERMINAL_STATES).count() == 300
    assert not Allocation.objects.exists()


def test_totals_and_roll_up_agree_with_its_jobs():
    seed_history(jobs=800)

    for state in TERMINAL_STATES:
        there = Job.objects.filter(state=state).count()
        assert Tally.objects.total(state) == there
        assert Rollup.objects.filter(outcome=state).aggregate(n=Sum("n"))["n"] == there
    requeues = JobEvent.objects.filter(kind="requeued").count()
    assert Rollup.objects.filter(outcome="requeued").aggregate(n=Sum("n"))["n"] == requeues > 0


def test_no_rule_of_the_verdict_is_broken(tmp_path):
    seed_history(jobs=400, days=3)

    verdict = judge.judge(tmp_path)

    assert verdict.jobs == 400
    assert verdict.breaches == []


def test_all_of_it_lies_in_the_days_asked_for():
    seed_history(jobs=100, days=2)

    first, last = (Job.objects.order_by(order).first() for order in ("submitted_at", "-finished_at"))
    assert (database_now() - first.submitted_at).total_seconds() <= 2 * 86_400 + 60
    assert last.finished_at <= database_now()


def test_jobs_of_the_cluster_keep_their_ids_and_get_new_ones_after():
    before = queued()

    seed_history(jobs=50)

    assert queued().id == before.id + 51


def test_the_same_seed_makes_the_same_history():
    seed_history(jobs=200, seed=4)
    first = list(Job.objects.order_by("id").values_list("type", "state", "reason"))
    Job.objects.all().delete()

    seed_history(jobs=200, seed=4)

    assert list(Job.objects.order_by("id").values_list("type", "state", "reason")) == first
