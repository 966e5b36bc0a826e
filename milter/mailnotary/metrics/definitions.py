"""Every metric: its name, kind, labels and meaning. README, dashboard and alert rules are checked against this list.

Names and units follow https://prometheus.io/docs/practices/naming/. The values of labels are words of ours: nothing
that a message holds ever becomes one, so their number is bounded.
"""

from dataclasses import dataclass
from typing import Final

PREFIX: Final = "mailnotary_"


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is counter, gauge or histogram; `buckets` are the upper bounds of a histogram's, in its unit."""

    name: str  # without the prefix, and a counter's without _total
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is served."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

METRICS: Final = (
    Metric("messages", "counter", "Messages, by what was done with them.", ("mode", "action")),
    Metric("results", "counter", "Results of checks, by method and result word.", ("method", "result")),
    Metric("would", "counter", "Messages that enforcing would have treated otherwise, by how.", ("action",)),
    Metric("signatures", "counter", "DKIM signatures made, by algorithm.", ("algorithm",)),
    Metric("errors", "counter", "Messages on which mailnotary itself failed."),
    Metric("message_seconds", "histogram", "Own work on a message, waiting for DNS included.", (), _SECONDS),
    Metric("dns_lookups", "counter", "Questions that checks asked, answered from the cache or by a nameserver."),
    Metric("dns_cache_hits", "counter", "Questions that the cache answered."),
    Metric("dns_queries", "counter", "Questions sent to nameservers, by what came of them.", ("outcome",)),
    Metric(
        "dns_query_seconds",
        "histogram",
        "Time that was waited for an answer of nameservers, all tries together.",
        (),
        _SECONDS,
    ),
    Metric("workers", "gauge", "Worker processes that are alive."),
    Metric("worker_restarts", "counter", "Workers that ended and were replaced."),
    Metric("configuration_generation", "gauge", "How many configurations have been taken over since the start."),
    Metric("reload_failures", "counter", "Reloads that were refused because of the configuration."),
    Metric("keys", "gauge", "Signing keys, by their state in the keystore.", ("state",)),
    Metric("keys_signing", "gauge", "Keys that sign."),
    Metric("key_records", "gauge", "Keys by what DNS serves for them.", ("record",)),
    Metric("oldest_signing_key_seconds", "gauge", "Time since DNS was first seen serving the oldest key that signs."),
    Metric("keys_in_rotation", "gauge", "New and replaced keys on their way, by what they wait for.", ("phase",)),
    Metric("key_rotation_problems", "gauge", "Keys whose rotation cannot go on by itself."),
    Metric("key_rotation_next_seconds", "gauge", "Time until the next domain's keys are replaced; below 0: overdue."),
    Metric("source_domains", "gauge", "Domains whose keys the source has."),
    Metric("source_domains_waiting", "gauge", "Domains whose mail waits because of their rows in the source."),
    Metric("source_failing", "gauge", "1 while the source of keys does not answer."),
    Metric("history_messages", "counter", "Messages brought into the history."),
    Metric("history_lost", "counter", "Messages that are missing in the history."),
    Metric("history_failing", "gauge", "1 while the history cannot be written."),
    Metric("build_info", "gauge", "Always 1; the labels tell the version.", ("version", "python")),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
