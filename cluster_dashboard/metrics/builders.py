"""The metric families, each with the prefix of this cluster."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from scheduler.models import Gpu


def gauge(name: str, words: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gpu_cluster_{name}", words, labels=labels)


def counter(name: str, words: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"gpu_cluster_{name}", words, labels=labels)


def single(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gpu_cluster_{name}", words, value=value)


def by_gpu(name: str, words: str, values: Iterable[tuple[Gpu, float | None]]) -> GaugeMetricFamily:
    family = gauge(name, words, ["gpu"])
    for gpu, value in values:
        if value is not None:
            family.add_metric([str(gpu.index)], value)
    return family
