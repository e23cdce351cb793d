"""Shares as people read them."""

from __future__ import annotations

from django import template

from scheduler.admin import plots
from scheduler.admin.rates import Share

register = template.Library()


@register.filter
def percent(value: Share | float | None) -> str:
    if value is None:
        return "-"
    return plots.percent(value.rate if isinstance(value, Share) else value)


@register.filter
def interval(share: Share | None) -> str:
    return "-" if share is None else f"{plots.percent(share.low)} to {plots.percent(share.high)}"


@register.filter
def count(value: int) -> str:
    """With separators: 1,234,567."""
    return f"{value:,}"
