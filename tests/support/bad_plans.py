"""Edits of a toy's plan.json that a loader must refuse, and some that it must take.

Both loaders are run over the one table (tests/plan/test_bad_plans.py): a plan is good or bad, not
good for one of them. `damaged` begins the path of keys that the error names; one loader may be more
exact than the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edits import ABSENT

STATE = {
    "buffer": 3,
    "group": "toy",
    "part": "state",
    "update": "append",
    "axis": 0,
    "capacity": 40,
}
REPLACED = {"buffer": 3, "group": "toy", "part": "state", "update": "replace"}
VERSIONS = "states[0].versions"
FAULT = {"compiler": "E031", "fault": "a compiler fails"}
FILL = {"arg": 1, "count": 3, "low": 0, "span": 50}
EXPECTED = {"arg": 3, "count": 48, "size": 1.5, "sums": [0] * 8}
TEST = {
    "phase": 0,
    "step": 0,
    "symbols": [3, 2, 1, 0],
    "fills": [FILL],
    "expected": [EXPECTED],
}
AT = "tests[0]"


def changed(value: dict[str, Any], key: str, to: Any) -> dict[str, Any]:
    """An object with another value for a key, or without it."""
    return {k: v for k, v in {**value, key: to}.items() if v is not ABSENT}


def chain(count: int) -> list[dict[str, Any]]:
    """Tests, each of which follows the one before."""
    return [TEST, *({**TEST, "after": i} for i in range(count - 1))]


STEP, VARIANT = "phases.0.steps.0", "phases.0.steps.0.variants.0"


@dataclass(frozen=True)
class PlanEdit:
    """A value for a key of plan.json ("phases.0.steps"), and which path is damaged by it."""

    key: str
    value: Any
    reason: str
    damaged: str = ""  # the path of keys; empty: the edited one

    @property
    def path(self) -> str:
        """As both loaders write it: phases[0].steps."""
        if self.damaged:
            return self.damaged
        first, *rest = self.key.split(".")
        return first + "".join(f"[{k}]" if k.isdigit() else f".{k}" for k in rest)

    def __str__(self) -> str:
        value = "absent" if self.value is ABSENT else repr(self.value)[:20]
        return f"{self.key}={value}"


def bad(key: str, value: Any, reason: str, damaged: str = "") -> PlanEdit:
    """A plan that is refused."""
    return PlanEdit(key, value, reason, damaged)


BAD_PLANS = (
    # --- the model and the profile
    bad("model", 3, "no object"),
    bad("model.kind", "poet", "no kind of models"),
    bad("model.kind", ABSENT, "no kind of models"),
    bad("model.batch", 0, "no size"),
    bad("model.vocab_size", ABSENT, "no size"),
    bad("model.vocab_size", 0, "no size"),
    bad("model.vocab_size", 99, "logits have no room for it", "buffers[2].bytes"),
    bad("model.max_context", 2**40, "no size"),
    bad("model.eos", 0, "no list"),
    bad("model.eos", ["x"], "no id"),
    bad("model.eos", [1.5], "no id"),
    bad("generator", ABSENT, "it is missing"),
    bad("profile", {}, "it has no class and no alignment"),
    bad("profile.class", ABSENT, "it is missing"),
    bad("profile.align", 0, "no alignment"),
    bad("profile.align", "128", "no number"),
    bad("profile.local_memory", "32 KiB", "no number"),
    bad("profile.local_memory", 0, "no size"),
    # --- symbols
    bad("symbols", {}, "no list"),
    bad("symbols.0.name", "+", "an operator"),
    bad("symbols.0.name", "max", "an operator"),
    bad("symbols.0.name", "a b", "no name"),
    bad("symbols.0.name", "past", "two of one name", "symbols[1]"),
    bad("symbols.3.name", "begin", "a language model needs start", "symbols"),
    bad("symbols.0.kind", "guess", "no kind of symbols"),
    bad("symbols.0.min", -1, "negative", "symbols[0]"),
    bad("symbols.0.min", 9, "above the greatest", "symbols[0]"),
    bad("symbols.1.max", -1, "below the least", "symbols[1]"),
    bad("symbols.0.max", 2**31, "too large", "symbols[0]"),
    bad("symbols.0.slot", ABSENT, "kernels look there"),
    bad("symbols.0.slot", -1, "no slot"),
    bad("symbols.0.slot", 1, "that of past", "symbols[1].slot"),
    bad("symbols.2.slot", 3, "that of start", "symbols[3].slot"),
    bad("symbols.2.slot", 2**20, "too far away"),
    bad("symbols.2.slot", "2", "no number"),
    bad("symbols.3.slot", 2**20, "its end is too far away"),
    bad("symbols.3.length", 0, "no element"),
    bad("symbols.3.length", 2, "there is one text"),
    bad("symbols.3.length", ABSENT, "a value for each text"),
    bad("symbols.3.length", 2**31, "too long"),
    bad("symbols.1.length", 1, "a text has one past", "symbols[1]"),
    bad("symbols.0.length", 2, "its second slot is that of past", "symbols[1].slot"),
    # --- buffers
    bad("buffers.0.kind", "weight", "no kind of buffers"),
    bad("buffers.0.dtype", "f8", "no element type"),
    bad("buffers.1.dtype", "f32", "ids are whole numbers"),
    bad("buffers.0.bytes", 31, "too few for its shape"),
    bad("buffers.0.bytes", 2**50, "no size"),
    bad("buffers.1.bytes", 4, "too few for its shape"),
    bad("buffers.0.shape", ["many"], "no expression", "buffers[0].shape[0]"),
    bad("buffers.0.shape", [["seq", 9, "-"]], "it may be negative", "buffers[0].shape[0]"),
    bad("buffers.0.shape", [2**40, 2**40], "it overflows"),
    bad("buffers.2.shape", [["nothing"]], "no symbol", "buffers[2].shape[0]"),
    bad("buffers.2.shape", [-1], "negative", "buffers[2].shape[0]"),
    bad("buffers.0.name", "words", "a language model needs tokens", "buffers"),
    bad("buffers.1.name", "tokens", "two of one name", "buffers[1]"),
    bad("buffers.0.name", 3, "no text"),
    bad("buffers.0.name", "a\0b", "no name has such characters"),
    bad("buffers.2.shape", [["start"]], "a vector has no one value", "buffers[2].shape[0]"),
    bad("buffers.3.shape", [["seq"], 16], "a state has one size", "buffers[3].shape[0]"),
    bad("buffers.3.shape", [39, 16], "its capacity is another", "states[0].capacity"),
    bad("buffers.3.kind", "output", "a state is kept in it", "states[0].buffer"),
    bad("buffers.0.kind", "state", "nothing says how it changes", "states"),
    # --- states
    bad("states", ABSENT, "it is missing"),
    bad("states", [], "a buffer is a state", "states"),
    bad("states", {}, "no list"),
    bad("states.0.buffer", 4, "there is no such buffer"),
    bad("states.0.buffer", 0, "an input is no state"),
    bad("states.0.group", ABSENT, "it is missing"),
    bad("states.0.part", 3, "no text"),
    bad("states.0.update", ABSENT, "it is missing"),
    bad("states.0.update", "sometimes", "no kind of updates"),
    bad("states.0.axis", ABSENT, "tokens lie along one"),
    bad("states.0.axis", None, "tokens lie along one"),
    bad("states.0.axis", 2, "there are two"),
    bad("states.0.axis", -2, "counted from the start"),
    bad("states.0.axis", 1, "it is as long as a token is wide", "states[0].capacity"),
    bad("states.0.capacity", ABSENT, "it is missing"),
    bad("states.0.capacity", 39, "the buffer has more"),
    bad("states.0.capacity", "40", "no number"),
    bad("states.0.layout", "swizzled", "no layout"),
    bad("states.0.versions", 0, "none to read"),
    bad("states.0.versions", 2, "what is appended to has one"),
    bad("states.0.versions", 2**62, "no number of versions"),
    bad("states.1", STATE, "two of one buffer", "states[1].buffer"),
    bad(
        "states.0", {**REPLACED, "versions": 3}, "the first axis counts them", "states[0].versions"
    ),
    bad("states.0", {**REPLACED, "capacity": 40}, "tokens lie along no axis", "states[0].capacity"),
    bad("states.0", {**STATE, "update": "replace", "versions": 40}, "one axis for both", VERSIONS),
    # --- files and weights
    bad("files.0.path", "../kernels/embed.cl", "outside of the folder"),
    bad("files.0.path", "/etc/passwd", "outside of the folder"),
    bad("files.0.path", "kernels\\embed.cl", "outside of the folder, on some systems"),
    bad("files.0.path", "", "no path"),
    bad("files.1.path", "weights.0.bin", "two of one path", "files"),
    bad("files.0.sha256", "abc", "no checksum"),
    bad("files.0.sha256", "g" * 64, "no checksum"),
    bad("files.0.bytes", -1, "negative"),
    bad("weights.0.file", 6, "there is no such file"),
    bad("weights.0.file", -1, "there is no such file"),
    bad("weights.0.file", 0, "a text, which people edit", "weights[0]"),
    bad("weights.0.layout", ABSENT, "it is missing"),
    bad("weights.1.name", "table", "two of one name", "weights[1]"),
    bad("weights.1.offset", 16383, "not aligned"),
    bad("weights.0.offset", -16384, "negative"),
    bad("weights.1.offset", 32768, "after the file's end", "weights[1]"),
    bad("weights.1.bytes", 3199, "too few for its shape"),
    bad("weights.1.bytes", 3300, "after the file's end", "weights[1]"),
    bad("weights.1.shape", [-1, 5], "negative", "weights[1].shape[0]"),
    bad("weights.1.dtype", ABSENT, "it is missing"),
    # --- programs
    bad("programs.0.source", "kernels/other.cl", "there is no such file"),
    bad("programs.0.kernel", "a b", "no name", "programs[0]"),
    bad("programs.0.kernel", "", "no name", "programs[0]"),
    bad("programs.0.defines", [["N"]], "no value", "programs[0].defines[0]"),
    bad("programs.0.defines", [["N", 3]], "no text", "programs[0].defines[0][1]"),
    bad("programs.0.defines", [["1N", "2"]], "no name", "programs[0]"),
    bad("programs.0.defines", [["N", "1\n#include </x>"]], "a line of its own", "programs[0]"),
    bad("programs.0.options", "-cl-mad-enable", "no list"),
    bad("programs.0.options", ["-o /tmp/x"], "it writes a file", "programs[0].options[0]"),
    bad("programs.0.options", ["-I/etc"], "it reads files", "programs[0].options[0]"),
    bad("programs.0.options", ["-DX=1"], "there are defines for it", "programs[0].options[0]"),
    bad("programs.0.options", ["-cl-std=CL9"], "no version", "programs[0].options[0]"),
    bad("programs.0.options", ["-cl-mad-enable -o x"], "two in one", "programs[0].options[0]"),
    bad("programs.0.options", ["-cl-mad-enable"] * 2, "given twice", "programs[0].options[1]"),
    bad("programs.0.options", [1], "no text", "programs[0].options[0]"),
    # --- drivers
    bad("drivers", {"E031": "it fails"}, "no list"),
    bad("drivers", [{"fault": "it fails"}], "no compiler", "drivers[0].compiler"),
    bad("drivers", [{"compiler": "", "fault": "x"}], "no compiler", "drivers[0].compiler"),
    bad("drivers", [{"compiler": "E031.38", "fault": "x"}], "no name", "drivers[0].compiler"),
    bad("drivers", [{"compiler": "E031"}], "no fault", "drivers[0].fault"),
    bad("drivers", [{**FAULT, "from": 38}], "no text", "drivers[0].from"),
    bad("drivers", [{**FAULT, "from": "38."}], "no version", "drivers[0].from"),
    bad("drivers", [{**FAULT, "from": "38..1"}], "no version", "drivers[0].from"),
    bad("drivers", [{**FAULT, "before": "E45"}], "no version", "drivers[0].before"),
    bad("drivers", [{**FAULT, "before": "1234567"}], "too large", "drivers[0].before"),
    bad("drivers", [{**FAULT, "without": "fp16"}], "no list", "drivers[0].without"),
    bad("drivers", [{**FAULT, "without": ["a b"]}], "no name", "drivers[0].without[0]"),
    bad("drivers", [{**FAULT, "without": ["-cl-x"]}], "no option", "drivers[0].without[0]"),
    # --- phases
    bad("phases", [], "a language model needs prefill"),
    bad("phases.0.name", "decode", "two of one name", "phases[1]"),
    bad("phases.0.graph", ABSENT, "it is missing"),
    bad("phases.0.graph", 3, "no text"),
    bad("phases.0.bounds", {"start": [0, 1]}, "a vector", "phases[0].bounds.start"),
    bad("phases.0.bounds", {"sequence": [1, 2]}, "no symbol", "phases[0].bounds.sequence"),
    bad("phases.0.bounds.seq", [1, 9], "outside of the symbol's own"),
    bad("phases.0.bounds.seq", [5, 4], "the least is above the greatest"),
    bad("phases.0.bounds.seq", [1], "no pair"),
    bad("phases.0.bounds.seq", [2, 8], "a text may have one token", "phases[0].bounds"),
    bad("phases.0.bounds.past", [0, 38], "a text may fill the context", "phases[0].bounds"),
    bad("phases.0.bounds.past", [1, 39], "a text begins at 0", "phases[0].bounds"),
    bad("phases.0.bounds.seq", [1, 7], "a chunk has more", "phases[0].bounds"),
    bad("phases.2.bounds.rows", [1, 7], "each token of a chunk has a row", "phases[2].bounds"),
    bad("phases.0.recordable", "yes", "neither true nor false"),
    bad("phases.0.lower_bound_bytes", "x", "no number"),
    bad("phases.0.cooperative", {"program": 5}, "no program", "phases[0].cooperative.program"),
    bad("phases.0.cooperative", 4, "no object"),
    bad("phases.0.arena_bytes", 1023, "scratch ends after it", "phases[0].scratch[1]"),
    bad("phases.0.arena_bytes", ABSENT, "scratch needs it", "phases[0]"),
    bad("phases.0.arena_bytes", -1, "negative"),
    bad("phases.0.scratch.0.offset", 1, "not aligned"),
    bad("phases.0.scratch.0.offset", -128, "negative"),
    bad("phases.0.scratch.0.offset", None, "it is missing"),
    bad("phases.0.scratch.0.bytes", 511, "too few for its size"),
    bad("phases.0.scratch.0.bytes", 0, "too few for its size"),
    bad("phases.0.scratch.0.dtype", "f8", "no element type"),
    bad("phases.0.scratch.0.shape", [["seq"], 17], "larger than it", "phases[0].scratch[0].bytes"),
    bad("phases.0.scratch.0.size", ["seq", "*"], "no operand"),
    bad("phases.0.scratch.0.size", ["seq", 64], "two values"),
    bad("phases.0.scratch.0.size", [], "no value"),
    bad("phases.0.scratch.0.size", ["seq", 0, "//"], "divides by zero"),
    bad("phases.0.scratch.0.size", ["seq", 2**62, 2**62, "*", "*"], "it overflows"),
    bad("phases.0.scratch.0.size", [1] * 99 + ["+"] * 98, "too deep a stack"),
    bad("phases.0.scratch.0.size", ["seq", 65, "*"], "too few", "phases[0].scratch[0].bytes"),
    # --- steps
    bad("phases.0.steps", {}, "no list"),
    bad(f"{STEP}.kind", "dance", "no kind of steps", "phases[0].steps[0]"),
    bad(f"{STEP}.queue", 16, "no queue"),
    bad(f"{STEP}.queue", -1, "no queue"),
    bad("phases.0.steps.6.queue", "x", "no number"),
    bad(f"{STEP}.name", ABSENT, "it is missing"),
    bad(f"{STEP}.name", "a\nb", "no name has such characters"),
    bad("phases.0.steps.5.op", "sing", "no built-in"),
    bad("phases.0.steps.5.op", ABSENT, "it is missing"),
    bad("phases.0.steps.5.args", ABSENT, "it is missing"),
    bad("phases.0.steps.5.args", [], "it takes one"),
    bad("phases.0.steps.5.args", [["buffer", 1], ["buffer", 2]], "it takes one"),
    bad("phases.0.steps.5.args.0", ["buffer", 9], "there is no such buffer"),
    bad("phases.0.steps.5.args.0", ["scratch", 0], "only a buffer is handed over"),
    bad("phases.0.steps.5.args.0", ["symbols"], "only a buffer is handed over"),
    bad("phases.0.steps.5.writes", [0], "it writes nothing"),
    bad("phases.0.steps.5.writes", [1], "there is no such argument"),
    bad("phases.0.steps.5.writes", 0, "no list"),
    bad("phases.0.steps.5.params", {"rows": 1}, "it has none"),
    bad("phases.0.steps.5.params", [], "no object"),
    bad("phases.0.steps.5", {"kind": "wait"}, "decode alone gives ids", "phases[1].bounds"),
    bad(f"{STEP}.args", {}, "no list"),
    bad(f"{STEP}.args.0", ["image"], "no kind of arguments"),
    bad(f"{STEP}.args.0", ["symbols", 0], "one word says it"),
    bad(f"{STEP}.args.1", ["buffer"], "no index"),
    bad(f"{STEP}.args.1", ["buffer", 0, 0], "too many entries"),
    bad(f"{STEP}.args.1", ["buffer", 4], "there is no such buffer"),
    bad(f"{STEP}.args.2", ["weight", 2], "there is no such weight"),
    bad(f"{STEP}.args.3", ["scratch", -1], "there is no such scratch"),
    bad(f"{STEP}.writes", [4], "there is no such argument", "phases[0].steps[0].writes[0]"),
    bad(f"{STEP}.writes", [2], "a weight is never written", "phases[0].steps[0].writes[0]"),
    bad(f"{STEP}.variants", [], "no way to run it"),
    bad(f"{VARIANT}.program", 5, "there is no such program"),
    bad(f"{VARIANT}.global", [], "no dimension", "phases[0].steps[0].variants[0]"),
    bad(f"{VARIANT}.global", [1] * 4, "four dimensions", "phases[0].steps[0].variants[0]"),
    bad(f"{VARIANT}.global", [["seq", 2, "-"]], "it may be negative"),
    bad(f"{VARIANT}.global", [["seq", "past", "//"]], "it may divide by zero"),
    bad(f"{VARIANT}.global", [2**33], "too many work-items"),
    bad(f"{VARIANT}.local", [0], "no work-item"),
    bad(f"{VARIANT}.local", [1.0], "no whole number"),
    bad(f"{VARIANT}.local", [32], "no divisor", "phases[0].steps[0].variants[0].global[0]"),
    bad(f"{VARIANT}.local", [1, 1], "other dimensions", "phases[0].steps[0].variants[0]"),
    bad(f"{VARIANT}.requires", ["magic"], "no feature"),
    bad(f"{VARIANT}.local_bytes", -1, "negative"),
    bad(f"{VARIANT}.local_bytes", 2**31, "too large"),
    bad(f"{VARIANT}.local_bytes", "32 KiB", "no number"),
    bad(f"{VARIANT}.cut", 1, "there is one axis"),
    bad(f"{VARIANT}.cut", -1, "negative"),
    bad(f"{STEP}.microseconds", -1, "negative"),
    bad(f"{STEP}.microseconds", 2**31, "too long"),
    bad(f"{STEP}.microseconds", 0.5, "no whole number"),
    # --- tests of kernels
    bad("tests", {"0": TEST}, "no list"),
    bad(
        "tests",
        [{**TEST, "expected": [{**EXPECTED, "arg": 1, "count": 3}]}],
        "it is only read",
        f"{AT}.expected[0].arg",
    ),
    *(
        bad("tests", [changed(TEST, key, value)], reason, f"tests[0].{damaged or key}")
        for key, value, reason, damaged in (
            ("phase", 3, "there is no such phase", ""),
            ("phase", ABSENT, "it is missing", ""),
            ("step", 7, "there is no such step", ""),
            ("step", 5, "a fetch is no dispatch", ""),
            ("symbols", [3, 2, 1], "one has no value", ""),
            ("symbols", [9, 2, 1, 0], "outside of the phase's bounds", "symbols[0]"),
            ("symbols", [3, 39, 1, 0], "beyond the context", ""),
            ("symbols", [1, 2, 2, 0], "more rows than tokens", ""),
            ("symbols", [3, 2, 1, 6], "it starts behind its end", ""),
            ("after", 0, "it would follow itself", ""),
            ("fills", FILL, "no list", ""),
            ("expected", ABSENT, "it is missing", ""),
            ("expected", [], "any kernel passes it", ""),
            ("expected", [EXPECTED] * 9, "two for each argument", ""),
            ("fills", [FILL] * 5, "one for each argument", ""),
        )
    ),
    bad(
        "tests",
        [TEST, {**TEST, "phase": 2, "after": 0}],
        "another phase's scratch",
        "tests[1].after",
    ),
    bad("tests", [TEST] * 21, "more than steps"),
    bad("tests", chain(10), "too many follow each other", "tests[9].after"),
    *(
        bad("tests", [{**TEST, "fills": [{**FILL, key: value}]}], reason, f"{AT}.fills[0].{key}")
        for key, value, reason in (
            ("arg", 4, "there is no such argument"),
            ("arg", 2, "a weight is as it is"),
            ("arg", 0, "the symbols are told"),
            ("count", 9, "there is room for 8"),
            ("count", 0, "nothing"),
            ("rows", 2, "one lies on the other"),
            ("rows", 2**40, "too many"),
            ("stride", -1, "backwards"),
            ("span", 0, "no value"),
            ("low", 2**40, "too large"),
            ("words", [1, 2], "one is missing"),
            ("words", [1, 2, 2**31], "more than 32 bits"),
        )
    ),
    *(
        bad(
            "tests",
            [{**TEST, "expected": [{**EXPECTED, key: value}]}],
            reason,
            f"{AT}.expected[0].{key}",
        )
        for key, value, reason in (
            ("count", 129, "there is room for 128"),
            ("first", -1, "before the memory"),
            ("size", -1.0, "negative"),
            ("size", "1", "no number"),
            ("sums", [0] * 7, "one is missing"),
            ("sums", [0.5] * 8, "no whole numbers"),
        )
    ),
)

GOOD_PLANS = (
    PlanEdit("symbols.0.slot", 4, "a slot of its own, with a gap"),
    PlanEdit("symbols.3.length", 1, "a value for each of one text"),
    PlanEdit("symbols.2.kind", "count", "a kernel writes it"),
    PlanEdit("symbols.0.length", None, "a scalar"),
    PlanEdit("states.0", {**STATE, "update": "once"}, "what a text begins with"),
    PlanEdit("states.0", REPLACED, "what each step makes anew"),
    PlanEdit("states.0", {**REPLACED, "versions": 40}, "versions that take turns"),
    PlanEdit("states.0.layout", ABSENT, "the only one"),
    PlanEdit("states.0.versions", ABSENT, "one"),
    PlanEdit("phases.1.name", "later", "a name is for people"),
    PlanEdit("phases.0.graph", "another", "a name is for people"),
    PlanEdit("phases.1.bounds.past", [0, 38], "the other phase takes the last position"),
    PlanEdit("phases.1.bounds.past", [1, 39], "the other phase takes the first position"),
    PlanEdit("phases.2.steps.4", {"kind": "wait"}, "nothing scores"),
    PlanEdit("phases.0.steps.5.writes", ABSENT, "none"),
    PlanEdit("phases.0.steps.5.params", ABSENT, "none"),
    PlanEdit("anything", {"else": [1, 2]}, "a key that nobody reads"),
    PlanEdit("profile.name", ABSENT, "for people only"),
    PlanEdit("phases.0.cooperative", None, "no other way to run it"),
    PlanEdit("phases.0.cooperative", {"program": 4}, "another way to run it"),
    PlanEdit("phases.0.lower_bound_bytes", ABSENT, "for people only"),
    PlanEdit("phases.0.steps.1.args.1", ["scratch", 1], "another scratch tensor"),
    PlanEdit("phases.0.steps.5.queue", ABSENT, "the first queue"),
    PlanEdit("phases.0.steps.6.queue", ABSENT, "the first queue"),
    PlanEdit(f"{VARIANT}.requires", ABSENT, "nothing"),
    PlanEdit(f"{VARIANT}.requires", ["fp16", "images"], "features of some devices"),
    PlanEdit(f"{VARIANT}.local_bytes", 2**31 - 1, "more than any device has"),
    PlanEdit(f"{VARIANT}.local_bytes", None, "nothing"),
    PlanEdit(f"{VARIANT}.cut", 0, "its one axis"),
    PlanEdit(f"{VARIANT}.cut", None, "none"),
    PlanEdit(f"{STEP}.microseconds", 2**31 - 1, "half an hour"),
    PlanEdit(f"{STEP}.microseconds", None, "nobody has predicted it"),
    PlanEdit("drivers", [], "none"),
    PlanEdit("drivers", [FAULT], "nothing is switched off"),
    PlanEdit("drivers", [{**FAULT, "from": "38.01", "before": "45"}], "some versions"),
    PlanEdit("drivers", [{**FAULT, "without": ["fp16", "gemv", "-cl-mad-enable"]}], "names"),
    PlanEdit("tests", [], "none"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "words": []}]}], "made up"),
    PlanEdit("tests", [TEST, {**TEST, "after": 0}], "one after the other"),
    PlanEdit("tests", chain(9), "eight follow the first"),
    PlanEdit("tests", [TEST] * 20, "one for each step"),
    PlanEdit("tests", [{**TEST, "fills": [FILL] * 4, "expected": [EXPECTED] * 8}], "the most"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "words": [7, -1, 2**31 - 1]}]}], "words"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "count": 1, "rows": 2, "stride": 7}]}], "runs"),
    PlanEdit("tests", [{**TEST, "expected": [{**EXPECTED, "first": 80, "size": 0}]}], "exact"),
    PlanEdit("programs.0.options", [], "none"),
    PlanEdit("programs.0.options", ["-cl-mad-enable", "-cl-std=CL2.0"], "known ones"),
    PlanEdit("programs.0.defines", [["N(a, b)", "a"]], "a macro with parameters"),
)
