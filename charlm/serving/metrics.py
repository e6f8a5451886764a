"""Counts of what a server does, in Prometheus' text form (exposition format 0.0.4)."""

import bisect
import collections
import time
from collections.abc import Iterator

from charlm.serving.models import Catalogue

_BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
)


class Histogram:
    """Seconds in buckets, by one label."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = collections.defaultdict(float)

    def add(self, label: str, seconds: float) -> None:
        """Count one."""
        counts = self._counts.setdefault(label, [0] * (len(_BOUNDS) + 1))
        counts[bisect.bisect_left(_BOUNDS, seconds)] += 1
        self._sums[label] += seconds

    def lines(self, name: str, label_name: str) -> Iterator[str]:
        """The samples."""
        for label, counts in self._counts.items():
            total = 0
            for bound, count in zip((*_BOUNDS, "+Inf"), counts, strict=True):
                total += count
                yield f'{name}_bucket{{{label_name}="{label}",le="{bound}"}} {total}'
            yield f'{name}_sum{{{label_name}="{label}"}} {self._sums[label]:.6f}'
            yield f'{name}_count{{{label_name}="{label}"}} {total}'


class Metrics:
    """What has been counted; all of it in the event loop's thread."""

    def __init__(self) -> None:
        self._begun = time.time()
        self.requests: collections.Counter[tuple[str, int]] = collections.Counter()
        self.seconds = Histogram()  # of a request, by path
        self.first = Histogram()  # until the first text of a stream, by model
        self.tokens: collections.Counter[tuple[str, str]] = collections.Counter()
        self.left = 0  # clients that went before the end
        self.open = 0  # requests that are being answered

    def count_tokens(self, model: str, prompt: int, drawn: int) -> None:
        """Count those of a completion."""
        self.tokens[model, "prompt"] += prompt
        self.tokens[model, "completion"] += drawn

    def text(self, catalogue: Catalogue) -> str:
        """All of it."""
        return "".join(f"{line}\n" for line in self._lines(catalogue))

    def _lines(self, catalogue: Catalogue) -> Iterator[str]:
        yield from _head("charlm_requests_total", "counter", "Requests that were answered.")
        for (path, status), count in sorted(self.requests.items()):
            yield f'charlm_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from _head("charlm_request_seconds", "histogram", "Seconds of a request.")
        yield from self.seconds.lines("charlm_request_seconds", "path")
        yield from _head(
            "charlm_first_text_seconds", "histogram", "Seconds until the first text of a stream."
        )
        yield from self.first.lines("charlm_first_text_seconds", "model")
        yield from _head("charlm_tokens_total", "counter", "Tokens of completions.")
        for (model, kind), count in sorted(self.tokens.items()):
            yield f'charlm_tokens_total{{model="{model}",kind="{kind}"}} {count}'
        yield from _head("charlm_requests_open", "gauge", "Requests that are being answered.")
        yield f"charlm_requests_open {self.open}"
        yield from _head(
            "charlm_clients_left_total", "counter", "Clients that left before the end."
        )
        yield f"charlm_clients_left_total {self.left}"
        of_models = (
            ("charlm_queue_requests", "gauge", "Requests that wait for a model.", "waiting"),
            ("charlm_sequences_running", "gauge", "Sequences that are being drawn.", "running"),
            ("charlm_drawn_tokens_total", "counter", "Tokens that were drawn.", "tokens_drawn"),
            ("charlm_busy_seconds_total", "counter", "Seconds at work.", "seconds_busy"),
        )
        for name, kind, told, attribute in of_models:
            yield from _head(name, kind, told)
            for model, served in catalogue.served.items():
                yield f'{name}{{model="{model}"}} {getattr(served.worker, attribute)}'
        yield from _head("process_start_time_seconds", "gauge", "When the server was started.")
        yield f"process_start_time_seconds {self._begun:.3f}"


def _head(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
