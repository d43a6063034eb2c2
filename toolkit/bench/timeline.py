"""A timeline of kernels for a browser's trace viewer (ui.perfetto.dev, chrome://tracing).

The format is Chrome's trace events: complete events ("X") of microseconds, on three tracks.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolkit.executors.spans import Span, length_s, runs_of

TRACKS = {1: "phases", 2: "kernels", 3: "device idle between kernels", 4: "enqueued by the host"}
Event = dict[str, Any]


def write_trace(path: Path, spans: Sequence[Span], device: str) -> None:
    """Write the timeline of some runs."""
    events = list(_events(spans, device))
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": events})
    path.write_text(text + "\n", encoding="utf-8")


def _events(spans: Sequence[Span], device: str) -> Iterator[Event]:
    yield _about("process_name", 0, device)
    for track, name in TRACKS.items():
        yield _about("thread_name", track, name)
        yield {**_about("thread_sort_index", track, ""), "args": {"sort_index": track}}
    zero = min((span.queued for span in spans), default=0)
    before: Span | None = None
    for number, run in enumerate(runs_of(spans)):
        first, last = run[0].started, max(span.ended for span in run)
        facts = {"kernels": len(run), "span_us": 1e6 * length_s(run), "run": number}
        yield _slice(1, run[0].phase, first - zero, last - first, facts)
        yield _enqueueing(run, zero)
        for span in run:
            if before and span.started > before.ended:
                gap = span.started - before.ended
                yield _slice(3, "idle", before.ended - zero, gap, {"before": span.name})
            yield _kernel(span, zero, before)
            before = span


def _kernel(span: Span, zero: int, before: Span | None) -> Event:
    facts = {
        "step": span.name,
        "phase": span.phase,
        "waited_in_queue_us": (span.started - span.queued) / 1e3,
        "since_submitted_us": (span.started - span.submitted) / 1e3,
        "gap_before_us": max(0, span.started - before.ended) / 1e3 if before else None,
    }
    took = span.ended - span.started
    return _slice(2, f"{span.kernel}  {span.name}", span.started - zero, took, facts)


def _enqueueing(run: Sequence[Span], zero: int) -> Event:
    took = run[-1].queued - run[0].queued
    facts = {"per_kernel_us": took / max(1, len(run) - 1) / 1e3}
    return _slice(4, f"enqueue {run[0].phase}", run[0].queued - zero, took, facts)


def _slice(track: int, name: str, start_ns: int, took_ns: int, facts: dict[str, Any]) -> Event:
    times = {"ts": start_ns / 1e3, "dur": took_ns / 1e3}
    return {"ph": "X", "pid": 1, "tid": track, "name": name, **times, "args": facts}


def _about(kind: str, track: int, name: str) -> Event:
    return {"ph": "M", "pid": 1, "tid": track, "name": kind, "args": {"name": name}}
