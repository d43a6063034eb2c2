"""Phases, what is asked of them, and the phase that answers: for any PhaseChoice."""

from __future__ import annotations

from dataclasses import dataclass

BUFFERS = ("tokens", "ids", "logits")
SYMBOLS = {"seq": (1, 512), "past": (0, 4096), "rows": (1, 64)}
Bounds = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Questions:
    """Phases, (name, what it gives, its bounds); questions, (what, seq, past, rows) -> name."""

    name: str
    phases: tuple[tuple[str, tuple[str, ...], Bounds], ...]
    asked: tuple[tuple[tuple[str, int, int, int], str | None], ...]


LAST, ONE = {"rows": (1, 1)}, {"seq": (1, 1), "rows": (1, 1)}
PREFILL = ("prefill", ("ids",), LAST)
DECODE = ("decode", ("ids",), ONE)
SCORE = ("score", ("logits",), {"seq": (1, 64)})

QUESTIONS = (
    Questions(
        "the phases of a language model",
        (PREFILL, DECODE, SCORE),
        (
            (("ids", 1, 0, 1), "decode"),
            (("ids", 1, 4096, 1), "decode"),
            (("ids", 2, 0, 1), "prefill"),
            (("ids", 512, 100, 1), "prefill"),
            (("ids", 513, 0, 1), None),
            (("ids", 1, 4097, 1), None),
            (("ids", 5, 0, 5), None),  # several rows are not chosen from
            (("logits", 1, 0, 1), "score"),
            (("logits", 64, 7, 64), "score"),
            (("logits", 65, 7, 65), None),
            (("tokens", 1, 0, 1), None),
        ),
    ),
    Questions(
        "their order does not matter",
        (SCORE, DECODE, PREFILL),
        ((("ids", 1, 9, 1), "decode"), (("ids", 3, 9, 1), "prefill")),
    ),
    Questions(
        "a long text has a phase of its own",
        (PREFILL, DECODE, ("decode_sparse", ("ids",), {**ONE, "past": (1024, 4096)})),
        (
            (("ids", 1, 1023, 1), "decode"),
            (("ids", 1, 1024, 1), "decode_sparse"),
            (("ids", 1, 4096, 1), "decode_sparse"),
            (("ids", 2, 2048, 1), "prefill"),
        ),
    ),
    Questions(
        "of equally narrow ones the first",
        (("a", ("ids",), ONE), ("b", ("ids",), ONE), ("c", ("ids",), {"seq": (2, 2), **LAST})),
        ((("ids", 1, 0, 1), "a"), (("ids", 2, 0, 1), "c")),
    ),
    Questions(
        "a phase may give several things, or nothing",
        (("nothing", (), ONE), ("both", ("ids", "logits"), LAST), ("logits", ("logits",), {})),
        (
            (("ids", 1, 0, 1), "both"),
            (("logits", 1, 0, 1), "both"),
            (("logits", 2, 0, 2), "logits"),
        ),
    ),
    Questions(
        "narrow is what leaves few values to all symbols together",
        (("long", ("ids",), {"past": (0, 2048)}), ("short", ("ids",), {"seq": (1, 8)})),
        ((("ids", 8, 2048, 1), "long"), (("ids", 8, 2049, 1), "short")),
    ),
    Questions("no phases", (), ((("ids", 1, 0, 1), None),)),
)
