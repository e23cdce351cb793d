"""The tables. A job's row is the job; only jobs.submit and jobs.lifecycle write Job (retention deletes)."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Now

from scheduler.rules.faults import FaultProfile
from scheduler.rules.job_limits import FAILURE_LIMIT, TIME_LIMIT_SECONDS
from scheduler.rules.moments import SLACK_SECONDS
from scheduler.rules.naming import OWNER_LENGTH
from scheduler.rules.placement import Place, in_service
from scheduler.rules.presets import Preset
from scheduler.rules.queues import JobQueue, Tiers, tiers_of
from scheduler.rules.states import PRIORITY_ORDER, TERMINAL_STATES, EventKind, JobState, Priority, Reason, Source


def _choices[W: (JobState, Priority, Source, EventKind, Reason, Preset, FaultProfile)](
    words: type[W],
) -> list[tuple[str, str]]:
    return [(word.value, word.value.replace("_", " ")) for word in words]


class Sequence(models.Model):
    """Allocates job ids before the insert, so that a job's name can end in its id."""

    name = models.CharField(max_length=20, primary_key=True)
    value = models.BigIntegerField(default=0)


class JobQuerySet(QuerySet["Job"]):
    def queued(self) -> JobQuerySet:
        return self.filter(state=JobState.QUEUED)

    def running(self) -> JobQuerySet:
        return self.filter(state=JobState.RUNNING)

    def due(self, now: datetime | None = None) -> JobQuerySet:
        """Queued jobs that may start now. now: None uses the database's clock."""
        return self.queued().filter(not_before__lte=now or Now())

    def ahead_of_clock(self) -> JobQuerySet:
        """Jobs that began to wait in the future. By each priority, as the index of waiting jobs wants it."""
        ahead = Now() + timedelta(seconds=SLACK_SECONDS)
        return self.filter(priority__in=PRIORITY_ORDER, queued_at__gt=ahead)

    def in_line(self) -> JobQuerySet:
        """In the order of submission, which is the order in which one queue starts (rules.waiting.order_in_queue)."""
        return self.order_by("id")

    def aged(self, ageing_seconds: float, now: datetime | None = None) -> JobQuerySet:
        """Jobs that have waited long enough to rise in priority, the longest wait first. now: None uses the database's
        clock."""
        since = (now or Now()) - timedelta(seconds=ageing_seconds)
        return self.filter(queued_at__lte=since).order_by("queued_at", "id")

    def of_queue(self, queue: JobQueue) -> JobQuerySet:
        """By priority and, where the GPUs differ, by the memory that the jobs need."""
        return self._of_sizes(queue, "gpu_memory_mib")

    def of_long_queue(self, queue: JobQueue) -> JobQuerySet:
        """The same jobs, for a fast read of the first jobs of a long queue: sizes are hidden from the planner, which
        would otherwise sort the whole backlog instead of reading the index in order."""
        return self.alias(size_in_passing=F("gpu_memory_mib") + 0)._of_sizes(queue, "size_in_passing")

    def _of_sizes(self, queue: JobQueue, column: str) -> JobQuerySet:
        jobs = self.filter(priority=queue.priority)
        if queue.above_mib is not None:
            jobs = jobs.filter(**{f"{column}__gt": queue.above_mib})
        return jobs if queue.up_to_mib is None else jobs.filter(**{f"{column}__lte": queue.up_to_mib})

    def ahead_of(self, job: Job, at_most: int) -> int:
        """The number of due jobs that start before this waiting one, if none ages; counted up to `at_most`."""
        due = self.due().order_by()
        own = due.filter(priority=job.priority)
        parts = [due.filter(priority=higher) for higher in PRIORITY_ORDER[: Priority(job.priority).rank]]
        parts.append(own.filter(attempt__gt=1, id__lt=job.id))
        if job.attempt == 1:
            parts += [own.filter(attempt__gt=1, id__gt=job.id), own.filter(attempt=1, id__lt=job.id)]
        count = 0
        for part in parts:
            if count < at_most:
                count += part[: at_most - count].count()
        return count

    def of_owner(self, owner: str) -> JobQuerySet:
        # The second condition excludes nothing more, but lets SQLite use the index of jobs with an owner.
        jobs = self.filter(owner=owner)
        return jobs if owner == "" else jobs.exclude(owner="")

    def owners(self, at_most: int) -> list[str]:
        """The names of those who have jobs, in order. Each by one step in the index: there may be a million jobs."""
        found: list[str] = []
        last = ""
        while len(found) < at_most:
            following = self.exclude(owner="").filter(owner__gt=last).order_by("owner")
            name = following.values_list("owner", flat=True).first()
            if name is None:
                break
            found.append(name)
            last = name
        return found

    def newest_first(self) -> JobQuerySet:
        return self.order_by("-id")

    def submitted_between(self, since: datetime | None, until: datetime | None) -> JobQuerySet:
        """since <= submitted_at < until. Ids sort by that time, so they bound the search, and no index is needed."""
        jobs = self
        if since is not None:
            jobs = jobs.filter(id__gte=_first_id_since(since), submitted_at__gte=since)
        if until is not None:
            jobs = jobs.filter(id__lt=_first_id_since(until), submitted_at__lt=until)
        return jobs


def _first_id_since(moment: datetime) -> int:
    """By bisection: the lowest job id submitted at `moment` or later, or one above the highest."""
    ends = Job.objects.aggregate(lowest=Min("id"), highest=Max("id"))
    low, high = ends["lowest"] or 1, (ends["highest"] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        found = Job.objects.filter(id__gte=middle).order_by("id").values_list("id", "submitted_at").first()
        if found is None or found[1] >= moment:
            high = middle
        else:
            low = found[0] + 1
    return low


class Job(models.Model):
    """One job. `attempt` is the fence: +1 at each requeue, and every write of a worker must name the current one."""

    id = models.BigIntegerField(primary_key=True)
    name = models.CharField(max_length=120, unique=True)
    type = models.CharField(max_length=60)
    priority = models.CharField(max_length=10, choices=_choices(Priority))
    source = models.CharField(max_length=10, choices=_choices(Source))
    owner = models.CharField(
        max_length=OWNER_LENGTH,
        blank=True,
        default="",
        db_default="",
        help_text="Who submitted it: a user, a token, or the unix user of a command; empty: the generator. It stays as "
        "it was written when a user is renamed or deleted",
    )
    params = models.JSONField(default=dict)
    gpu_memory_mib = models.IntegerField("GPU memory (MiB)", default=0)
    load = models.FloatField(default=1.0, help_text="Share of a simulated GPU's compute that the job uses")
    time_limit_seconds = models.IntegerField(default=TIME_LIMIT_SECONDS)
    max_failures = models.SmallIntegerField(default=FAILURE_LIMIT)
    accepts_faults = models.BooleanField(default=False, help_text="Random faults may hit the job")

    state = models.CharField(max_length=10, choices=_choices(JobState))
    attempt = models.IntegerField(default=1)
    failures = models.SmallIntegerField(default=0)
    event_count = models.IntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    gpu = models.SmallIntegerField("GPU", null=True, blank=True)
    boot = models.CharField(max_length=32, blank=True, default="")
    reason = models.CharField(max_length=20, blank=True, default="", choices=_choices(Reason))
    error = models.TextField(blank=True, default="")
    result = models.JSONField(null=True, blank=True)
    fault_probability = models.FloatField(
        default=0.0, help_text="Probability of a random fault in this attempt, fixed at its start"
    )

    submitted_at = models.DateTimeField()
    queued_at = models.DateTimeField()
    not_before = models.DateTimeField()
    elsewhere_until = models.DateTimeField(
        null=True, blank=True, help_text="Until this time a GPU other than the last one is preferred"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            # These contain the state too: SQLite keeps no statistics, and would otherwise choose job_by_state and read
            # the waiting jobs of every priority. PostgreSQL needs the priority first.
            models.Index(fields=("priority", "state", "id"), name="job_in_line", condition=Q(state=JobState.QUEUED)),
            models.Index(
                fields=("priority", "gpu_memory_mib", "id", "state"),
                name="job_by_size",
                condition=Q(state=JobState.QUEUED),
            ),
            models.Index(
                fields=("priority", "state", "attempt", "id"),
                name="job_given_back",
                condition=Q(state=JobState.QUEUED, attempt__gt=1),
            ),
            models.Index(fields=("priority", "queued_at"), name="job_ageing", condition=Q(state=JobState.QUEUED)),
            models.Index(fields=("gpu",), name="job_running", condition=Q(state=JobState.RUNNING)),
            models.Index(fields=("finished_at",), name="job_finished", condition=Q(finished_at__isnull=False)),
            models.Index(fields=("state", "-id"), name="job_by_state"),
            models.Index(fields=("type", "-id"), name="job_by_type"),
            # Jobs of one GPU and one priority are too rare among the newest ones to be found by reading all of those.
            models.Index(fields=("gpu", "priority", "-id"), name="job_by_gpu", condition=Q(gpu__isnull=False)),
            # Filters that match few jobs: the index costs nearly nothing, and finds a rare job at once.
            models.Index(fields=("reason", "-id"), name="job_by_reason", condition=~Q(reason="")),
            models.Index(fields=("source", "-id"), name="job_by_source", condition=~Q(source=Source.GENERATOR)),
            models.Index(fields=("owner", "-id"), name="job_by_owner", condition=~Q(owner="")),
        )
        constraints = (
            models.CheckConstraint(condition=Q(state__in=list(JobState)), name="job_state_known"),
            models.CheckConstraint(condition=Q(priority__in=list(Priority)), name="job_priority_known"),
            models.CheckConstraint(
                condition=~Q(state=JobState.RUNNING) | Q(gpu__isnull=False), name="job_running_has_gpu"
            ),
            models.CheckConstraint(
                # Sorted: a set's order differs from run to run, and each would look like a new constraint.
                condition=Q(state__in=sorted(TERMINAL_STATES), finished_at__isnull=False)
                | (~Q(state__in=sorted(TERMINAL_STATES)) & Q(finished_at__isnull=True)),
                name="job_terminal_has_end",
            ),
        )

    def __str__(self) -> str:
        return self.name


class JobEvent(models.Model):
    """Append-only: one row for each change of a job, n gapless from 1 within the job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    n = models.IntegerField()
    kind = models.CharField(max_length=20, choices=_choices(EventKind))
    at = models.DateTimeField()
    attempt = models.IntegerField()
    gpu = models.SmallIntegerField(null=True)
    boot = models.CharField(max_length=32, blank=True, default="")
    reason = models.CharField(max_length=20, blank=True, default="", choices=_choices(Reason))
    charged = models.BooleanField(default=False)
    detail = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("job", "n"), name="event_n_unique"),)

    def __str__(self) -> str:
        return f"{self.job_id}#{self.n} {self.kind}"


class Allocation(models.Model):
    """Which job holds which GPU. The primary key makes "one job for each GPU" a constraint."""

    gpu = models.SmallIntegerField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    attempt = models.IntegerField()


class GpuQuerySet(QuerySet["Gpu"]):
    def tiers(self) -> Tiers:
        """By the memory of every registered GPU: an unavailable GPU keeps its queues."""
        return tiers_of(self.values_list("memory_total_mib", flat=True))

    def places(self) -> list[Place]:
        """Every registered GPU; those in service may run jobs."""
        return [
            Place(
                gpu=gpu.index,
                memory_total_mib=gpu.memory_total_mib,
                takes_jobs=in_service(drained=gpu.drained, quarantined=gpu.quarantined, boot=gpu.boot),
            )
            for gpu in self
        ]


class Gpu(models.Model):
    """A GPU. Its worker registers it at boot, and the row stays when the worker ends."""

    index = models.SmallIntegerField(primary_key=True)
    host = models.CharField(max_length=120, blank=True, default="")
    backend = models.CharField(max_length=20)
    uuid = models.CharField("UUID", max_length=80, blank=True, default="")
    cuda_uuid = models.CharField(
        "CUDA UUID",
        max_length=80,
        blank=True,
        default="",
        db_default="",
        help_text="The UUID that CUDA reported in the job process; equal to UUID: the pinning is verified",
    )
    name = models.CharField(max_length=80, blank=True, default="")
    memory_total_mib = models.IntegerField("total memory (MiB)", null=True)
    power_limit_w = models.FloatField("power limit (W)", null=True)
    failure_rate = models.FloatField(
        default=0.05, help_text="Probability that a random fault hits an attempt of a generated job on this GPU"
    )
    drained = models.BooleanField(default=False, help_text="Starts no new job")
    quarantined = models.CharField(
        max_length=120, blank=True, default="", help_text="Why the cluster gives the GPU no job; empty: not quarantined"
    )
    boot = models.CharField(max_length=32, blank=True, default="", help_text="The boot id of its worker")
    booted_at = models.DateTimeField(null=True)

    objects = GpuQuerySet.as_manager()

    class Meta:
        ordering = ("index",)
        verbose_name = "GPU"
        constraints = (
            models.CheckConstraint(
                condition=Q(failure_rate__gte=0.0) & Q(failure_rate__lte=1.0), name="gpu_failure_rate_is_a_share"
            ),
        )

    def __str__(self) -> str:
        return f"GPU {self.index}"


class Control(models.Model):
    """One row: the settings that operators change at run time, and the generator's position, so that a tick is
    idempotent."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    rate_per_minute = models.FloatField(default=12.0)
    preset = models.CharField(max_length=10, blank=True, default="", choices=_choices(Preset))
    paused = models.BooleanField(default=False)
    fault_profile = models.CharField(max_length=10, choices=_choices(FaultProfile), default=FaultProfile.DEMO)
    seed = models.BigIntegerField(default=0)
    next_arrival_at = models.DateTimeField(null=True, blank=True, editable=False)
    next_arrival_rate = models.FloatField(
        null=True, blank=True, editable=False, help_text="The rate for which next_arrival_at was drawn"
    )
    arrivals = models.BigIntegerField(default=0, editable=False)
    workload = models.CharField(
        max_length=16, blank=True, default="", editable=False, help_text="Fingerprint of the workload of this position"
    )
    trace_row = models.BigIntegerField(default=0, editable=False, help_text="The next row of the trace")
    trace_wait = models.DurationField(
        null=True, blank=True, editable=False, help_text="During a pause: the remaining wait of that row"
    )

    class Meta:
        verbose_name_plural = "control"
        constraints = (models.CheckConstraint(condition=Q(id=1), name="control_is_one_row"),)

    def __str__(self) -> str:
        return "Control"


class ClusterEvent(models.Model):
    """An event of the cluster: a control with its actor, before and after; a death; a fault."""

    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=30)
    actor = models.CharField(max_length=150, blank=True, default="")
    gpu = models.SmallIntegerField(null=True, blank=True)
    message = models.CharField(max_length=300)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("-id",), name="event_by_people", condition=~Q(actor="")),)

    def __str__(self) -> str:
        return self.message


class TallyQuerySet(QuerySet["Tally"]):
    def total(self, word: str) -> int:
        """The live count of one word over all shards and priorities."""
        return self.filter(word=word).aggregate(n=Sum("n"))["n"] or 0

    def by_shard(self, word: str) -> dict[int, int]:
        return dict(self.filter(word=word).values_list("shard").annotate(n=Sum("n")))

    def by_priority(self, word: str) -> dict[str, int]:
        rows = self.filter(word=word).values_list("priority").annotate(n=Sum("n"))
        return {priority: n for priority, n in rows if n}


class Tally(models.Model):
    """Live counts, changed in the transaction of each move. Sharded by writer, so that workers do not wait for each
    other: the sum over the shards is the count (a single shard may be negative)."""

    pk = models.CompositePrimaryKey("shard", "priority", "word")
    shard = models.SmallIntegerField(help_text="GPU index; -1: all other processes")
    priority = models.CharField(max_length=10)
    word = models.CharField(max_length=20, help_text="A job state, submitted, started or commit_refused")
    n = models.BigIntegerField()

    objects = TallyQuerySet.as_manager()


class Rollup(models.Model):
    """Ended attempts by hour, counted in the transaction of each move; old hours are folded into their day.

    The GPU is part of the key, so workers do not wait for each other's rows.
    """

    hour = models.DateTimeField(help_text="Start of the hour (UTC)")
    gpu = models.SmallIntegerField(help_text="-1: the job was cancelled before it ran")
    type = models.CharField(max_length=60)
    priority = models.CharField(max_length=10)
    outcome = models.CharField(
        max_length=20, help_text="succeeded, failed, cancelled, or requeued with a charged failure"
    )
    reason = models.CharField(max_length=20, blank=True, default="")
    n = models.BigIntegerField(help_text="Attempts")
    at_risk = models.BigIntegerField(help_text="Finished attempts among these whose jobs accept random faults")
    expected = models.FloatField(help_text="Expected random faults in those: the sum of their probabilities")

    class Meta:
        verbose_name = "failure rate"
        verbose_name_plural = "failure rates"
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "gpu", "type", "priority", "outcome", "reason"), name="rollup_key_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} GPU {self.gpu} {self.outcome}"


class Checkpoint(models.Model):
    """What retention removed on one day, written in the same transaction. The jobs in the tables and the jobs counted
    here are all the jobs that were submitted; a job with an id up to `job` that is not in the tables was removed."""

    day = models.DateField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), help_text="Time of the latest removal")
    older_than = models.DateTimeField(null=True, help_text="All removed jobs had ended before this time")
    job = models.BigIntegerField(default=0, help_text="The highest removed job id")
    event = models.BigIntegerField(default=0, help_text="The highest id of a removed job event")
    succeeded = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)
    events = models.BigIntegerField(default=0, help_text="Removed job events")
    starts = models.BigIntegerField(default=0, help_text="Attempts that started, among these events")

    class Meta:
        ordering = ("-day",)
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.day}: {self.succeeded + self.failed + self.cancelled} jobs"


class Lease(models.Model):
    """Lets exactly one of several schedulers run a loop. Expires by the database's clock."""

    name = models.CharField(max_length=30, primary_key=True)
    holder = models.CharField(max_length=120)
    expires_at = models.DateTimeField()
