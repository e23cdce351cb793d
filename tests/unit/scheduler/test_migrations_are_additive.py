"""A migration runs while processes of the version before still work on the tables: it may only add."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import models
from django.db.migrations import operations
from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED

from tests.project import ROOT

#: Up to these the tables were those of the first version: nobody ran an older one beside them.
FIRST_VERSION = {"scheduler": 5, "cluster_dashboard": 1}
MIGRATIONS = sorted(
    f"{app}.migrations.{path.stem}"
    for app, last in FIRST_VERSION.items()
    for path in (ROOT / app / "migrations").glob("0*.py")
    if int(path.stem[:4]) > last
)
TAKES_AWAY = (
    operations.RemoveField,
    operations.RenameField,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
)


def problems(found: list[Operation]) -> list[str]:
    gone = [type(each).__name__ for each in found if isinstance(each, TAKES_AWAY)]
    added = [each for each in found if isinstance(each, operations.AddField)]
    # Without a default of the database, a row which the version before inserts would lack the field.
    lacking = [
        f"{each.model_name}.{each.name}"
        for each in added
        if not each.field.null and not each.field.many_to_many and each.field.db_default is NOT_PROVIDED
    ]
    return gone + lacking


def test_migrations_only_add() -> None:
    assert {name: found for name in MIGRATIONS if (found := problems(import_module(name).Migration.operations))} == {}


@pytest.mark.parametrize(
    "wrong",
    [
        operations.RemoveField("job", "load"),
        operations.RenameField("job", "load", "weight"),
        operations.DeleteModel("Job"),
        operations.AddField("job", "weight", models.FloatField(default=1.0)),
    ],
)
def test_rule_sees_what_would_hurt(wrong: Operation) -> None:
    assert problems([wrong]) != []


def test_rule_lets_additions_pass() -> None:
    added = operations.AddField("job", "weight", models.FloatField(default=1.0, db_default=1.0))

    assert problems([added, operations.AddField("job", "note", models.TextField(null=True))]) == []
