"""The report of `pocketcl estimate` for people: every figure in it is predicted."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.compiler.budget.clock import GATHERS, LAUNCHES
from toolkit.estimate.flash.points import point_notes, point_table
from toolkit.tables import rate, seconds, size, table, wrapped

Figures = Mapping[str, Any]
SMALL = 0.01  # of both times: families below are summed up


def lines(figures: Figures) -> Iterator[str]:
    """The report."""
    yield f"{title(figures)}: predicted, not measured"
    yield from _rates(figures)
    yield from _memory(figures)
    if "points" in figures:
        yield "predicted over memory, with weights in flash"
        yield from (f"  {line}" for line in table(point_table(figures)))
        for words in point_notes(figures):
            yield from wrapped(words, "  ", "    ")
    yield "predicted over the length of the context, each filled by its prompt"
    yield from (f"  {line}" for line in table(context_table(figures)))
    yield f"predicted split of the prefill of {figures['prompt_tokens']} and of a decode step"
    yield from (f"  {line}" for line in table(family_table(figures)))
    yield "from"
    for words in sources(figures):
        yield from wrapped(words, "  ", "    ")


def title(figures: Figures) -> str:
    """What runs where."""
    about = figures["about"]
    gpu = f" ({about['gpu']})" if about["gpu"] else ""
    return f"{about['source']} on {figures['device']}{gpu}"


def _rates(figures: Figures) -> Iterator[str]:
    prompt = figures["prompt_tokens"]
    prefill, first = figures["prefill_tokens_per_s"], seconds(figures["first_token_s"])
    yield f"  prefill {prompt:<6}{prefill:>10,.1f} tokens/s   first token after {first}"
    yield f"  decode        {figures['decode_tokens_per_s']:>10,.1f} tokens/s   after {prompt}"


def _memory(figures: Figures) -> Iterator[str]:
    memory, room = figures["memory"], figures["room"]
    named = {"weights": "weights", "kv": "KV", "arena": "scratch", "buffers": "buffers"}
    named |= {"records": "records"} if memory["records"] else {}
    parts = ", ".join(f"{word} {size(memory[name])}" for name, word in named.items())
    yield f"  memory        {size(memory['total'])} at {figures['context']} tokens: {parts}"
    yield f"  {verdict(figures)}"
    if room["memory"] is None:
        yield "  no profile tells what OpenCL sees of a phone's memory: --memory 4GiB says it"


def verdict(figures: Figures) -> str:
    """Whether the plan fits, and up to which context."""
    room, longest = figures["room"], figures["longest_context"]
    limits = [f"{size(room['memory'])} in all"] if room["memory"] is not None else []
    limits += [f"{size(room['buffer'])} in one buffer"] if room["buffer"] is not None else []
    of = f"{', '.join(limits)} ({room['source']})" if limits else ""
    words = {True: f"fits into {of}", False: f"does not fit into {of}", None: "may fit"}
    fits = words[figures["fits"]]
    return fits if longest is None else f"{fits}; the longest context that fits: {longest:,} tokens"


def context_table(figures: Figures) -> Iterator[list[str]]:
    """Rates and memory over contexts."""
    yield ["context", "prefill/s", "decode/s", "first token", "weights", "KV", "in all", "fits"]
    for row in figures["contexts"]:
        memory = row["memory"]
        yield [
            f"{row['context']:,}",
            rate(row["prefill_tokens_per_s"]),
            rate(row["decode_tokens_per_s"]),
            seconds(row["first_token_s"]),
            *(size(memory[name]) for name in ("weights", "kv", "total")),
            {True: "yes", False: "no", None: "?"}[row["fits"]],
        ]


def family_table(figures: Figures) -> Iterator[list[str]]:
    """What the times go into; what both hardly notice is one line."""
    families, keys = figures["families"], ("prefill_s", "decode_s")
    wholes = {key: sum(row[key] for row in families) for key in keys}
    yield ["family", "prefill", "", "decode", "", "share of bandwidth, arithmetic"]
    rest = dict.fromkeys(wholes, 0.0)
    for row in families:
        small = all(row[key] < SMALL * whole for key, whole in wholes.items())
        if small and row["family"] not in (LAUNCHES, GATHERS):
            rest = {key: rest[key] + row[key] for key in rest}
            continue
        yield [row["family"], *_times(row, wholes), _shares(row)]
    yield ["others", *_times(rest, wholes), ""]


def _times(row: Mapping[str, Any], wholes: Mapping[str, float]) -> Iterator[str]:
    for key, whole in wholes.items():
        yield seconds(row[key])
        yield f"{row[key] / whole:.0%}"


def _shares(row: Figures) -> str:
    found = (f"{each['bandwidth']:.1%}, {each['arithmetic']:.1%}" for each in row["shares"])
    return "; ".join(dict.fromkeys(found))


def sources(figures: Figures) -> Iterator[str]:
    """The device's limits and the shares of them, with where they come from."""
    rates = figures["rates"]
    units = {"read_gb_s": "reads {:.1f} GB/s", "cached_gb_s": "from its cache {:.1f} GB/s"}
    units |= {"arithmetic_gflop_s": "computes {:,.0f} GFLOP/s", "launch_us": "{:.3g} µs a launch"}
    for name, words in units.items():
        if rates[name] is None:
            continue
        yield f"{words.format(rates[name]['value'])}: {rates[name]['source']}"
    for row in figures["families"]:
        for share in row["shares"]:
            yield f"{share['of']}: {share['source']}"
