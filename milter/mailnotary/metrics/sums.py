"""What all processes of the daemon have counted, added up, as Prometheus' library takes it."""

import platform
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import mailnotary
from mailnotary.metrics.counts import Series
from mailnotary.metrics.definitions import BY_NAME, METRICS, PREFIX, Metric


class Sums:
    """Counters of all processes added up, and the gauges as they were last told."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = {("build_info", mailnotary.__version__, platform.python_version()): 1}
        self._lock = threading.Lock()

    def add(self, values: list[tuple[Series, float]]) -> None:
        """Adds to counters, sets gauges. What no metric is called is left out."""
        with self._lock:
            for series, value in values:
                metric = BY_NAME.get(series[0]) if series else None
                if metric is None:
                    continue
                self._values[series] = value + (0 if metric.kind == "gauge" else self._values.get(series, 0))

    def get(self, *series: str) -> float:
        """One value; 0 where it was never told."""
        with self._lock:
            return self._values.get(series, 0)

    def collect(self) -> Iterator[Any]:
        """The metrics as prometheus_client has them (its Collector)."""
        with self._lock:
            values = dict(self._values)
        for metric in METRICS:
            yield _family(metric, {series[1:]: value for series, value in values.items() if series[0] == metric.name})


def _family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name = PREFIX + metric.name
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.meaning)
        total = 0.0
        buckets = []
        for place, bound in enumerate((*map(str, metric.buckets), "+Inf")):
            total += values.get((str(place),), 0)
            buckets.append((bound, total))
        histogram.add_metric([], buckets, values.get(("sum",), 0))
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
        name, metric.meaning, labels=metric.labels
    )
    for labels, value in sorted(values.items()):
        if len(labels) == len(metric.labels):
            family.add_metric(labels, value)
    if not metric.labels and not values:
        family.add_metric((), 0)
    return family
