"""The address of a list accepts what its filters offer, and no look-up that could stop the process."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import reverse

from scheduler.models import Control, Job, Rollup
from tests.build import queued

pytestmark = pytest.mark.usefixtures("control", "gpus")

#: Never ends on a name that does not match.
SLOW = "(a%2B)%2B$"

#: Pages that read nothing of their address: the one row of control, the plots.
NO_LISTS = {Control, Rollup}
LISTS = [model for model in admin.site._registry if model not in NO_LISTS]


def _address(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _lookups(model: type[models.Model]) -> list[str]:
    fields = [field.name for field in model._meta.get_fields()]
    return [f"{name}__{lookup}" for name in [*fields, "pk"] for lookup in ("regex", "iregex", "contains")]


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_list_accepts_no_lookup_that_its_filters_do_not_offer(admin_client: Client, model: Any) -> None:
    accepted = [
        lookup
        for lookup in [*_lookups(model), "groups__name__regex", "events__detail__regex"]
        if admin_client.get(f"{_address(model)}?{lookup}={SLOW}").status_code != 400
    ]

    assert accepted == []


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_export_accepts_no_lookup_that_the_list_does_not_offer(admin_client: Client, form: str) -> None:
    queued(name="a" * 60)

    address = f"/admin/scheduler/job/export.{form}"
    accepted = [
        lookup
        for lookup in [*_lookups(Job), "events__detail__regex"]
        if admin_client.get(f"{address}?{lookup}={SLOW}").status_code != 400
    ]

    assert accepted == []


@pytest.mark.parametrize("model", NO_LISTS, ids=lambda model: model.__name__)
def test_page_without_rows_reads_no_lookup(admin_client: Client, model: Any) -> None:
    queued(name="a" * 60)

    for lookup in _lookups(model):
        assert admin_client.get(f"{_address(model)}?{lookup}={SLOW}").status_code in (200, 302)


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_each_filter_of_a_list_works(admin_client: Client, model: Any) -> None:
    """By the links that the page itself has."""
    found = admin_client.get(_address(model)).context["cl"]
    links = [choice["query_string"] for spec in found.filter_specs for choice in spec.choices(found)]

    assert [link for link in links if admin_client.get(f"{_address(model)}{link}").status_code != 200] == []
    assert len(links) > 0 or not found.filter_specs
