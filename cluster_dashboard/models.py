"""The tables of the API: tokens, and the answers that are kept for repeated submissions."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ApiToken(models.Model):
    """A token for scripts. Only a digest of the secret is stored; a revoked token stays as a record."""

    name = models.CharField(max_length=60, help_text="Who or what uses it")
    prefix = models.CharField(max_length=16, editable=False, help_text="Its first characters, to tell tokens apart")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(help_text="Out of read, submit, control")
    created_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute")
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-id",)
        verbose_name = "API token"
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=Q(revoked_at__isnull=True), name="token_name_unique_while_valid"
            ),
        )

    def __str__(self) -> str:
        return self.name


class KeptSubmission(models.Model):
    """A submission with an Idempotency-Key: the jobs accepted so far. A repeated request gets the same answer."""

    actor = models.CharField(max_length=150)
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, help_text="Of the body: another one under this key is a mistake")
    accepted = models.JSONField(default=list, help_text="[first, last] of each run of job ids, in order")
    done = models.BooleanField(default=False)
    holder = models.CharField(max_length=32, help_text="The request that works on it")
    held_until = models.DateTimeField(help_text="After this the holder is taken for dead")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (models.UniqueConstraint(fields=("actor", "key"), name="submission_key_unique"),)
        indexes = (models.Index(fields=("created_at",), name="submission_created"),)
