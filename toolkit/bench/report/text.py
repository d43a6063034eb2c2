"""The report of `bench` for people."""

from collections.abc import Iterator
from typing import Any

from toolkit.bench.conditions import lines as state_lines
from toolkit.bench.flash.first_token import first_token_lines
from toolkit.bench.flash.reads import flash_lines
from toolkit.bench.rivals import comparison_lines
from toolkit.bench.screen import lines as screen_lines


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{figures['device']}, {figures['executor']}, {figures['repeats']} repeats"
    for row in figures["prefill"]:
        rate = f"{row['tokens_per_s']:,.1f} tokens/s"
        first = f"first token after {1e3 * row['seconds']:.1f} ms"
        yield f"  prefill {row['tokens']:<6}{rate:<20}± {row['spread'] / 2:<6.0%}{first}"
    rate = f"{figures['decode_tokens_per_s']:,.1f} tokens/s"
    after = f"{figures['new_tokens']} tokens after {figures['prompt_tokens']}"
    yield f"  decode        {rate:<20}± {figures['spread']['decode'] / 2:<6.0%}{after}"
    yield from _token_lines(figures["decode"]["token_s"])
    cold, warm = figures["load"]["cold_s"], figures["load"]["warm_s"]
    compiling = f", {cold:.2f} s with nothing compiled yet" if cold is not None else ""
    yield f"  load          {warm:.2f} s{compiling}"
    yield from _host_lines(figures)
    parts = ", ".join(f"{key} {value / 1e6:.1f}" for key, value in figures["memory"].items())
    yield f"  memory        {parts} MB"
    if figures["peak_rss_bytes"] is not None:
        yield f"  peak memory   {figures['peak_rss_bytes'] / 1e6:.1f} MB"
    yield from flash_lines(figures)
    yield from first_token_lines(figures)
    yield from state_lines(figures["conditions"])
    if figures["ui"]:
        yield from screen_lines(figures["ui"])
    for found in figures["compare"]:
        yield from comparison_lines(found)


def _token_lines(seconds: dict[str, float] | None) -> Iterator[str]:
    """The slowest ones, which a mean hides."""
    if seconds:
        told = ", ".join(f"{name} {1e3 * each:.1f} ms" for name, each in seconds.items())
        yield f"  {'':<14}a token: {told}"


def _host_lines(figures: dict[str, Any]) -> Iterator[str]:
    yield f"  dispatches    {figures['dispatches_per_token']} a token"
    if figures["host_us_per_token"] is not None:
        yield f"  host          {figures['host_us_per_token']:.0f} µs a token of its own work"
    if figures["host_overhead_us"] is not None:
        span = figures["kernel_span_us"]["decode"]
        yield (
            f"  overhead      {figures['host_overhead_us']:.0f} µs a decode step,"
            f" on top of {span:,.0f} µs from first to last kernel"
        )
    yield f"  KV copied     {figures['kv_copy_bytes_per_token']} bytes a token"
