"""What the runner's loader refuses, without OpenCL (`--check`)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from edits import ABSENT, put
from talk import failure
from toy import Toy


def check(program: Path, *plans: Path) -> tuple[int, list[str], str]:
    """Exit code, answers and notes of `--check`."""
    command = [str(program), "--check", *map(str, plans)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    lines = done.stdout.decode(errors="replace").splitlines()
    return done.returncode, lines, done.stderr.decode(errors="replace")


STEP, VARIANT = "phases.0.steps.0", "phases.0.steps.0.variants.0"
MUTATIONS = [
    ("format", ABSENT, "format"),
    ("format", "1", "format"),
    ("format", 2, "format 2 is unknown"),
    ("format", 1.0, "format"),
    ("model", 3, "model"),
    ("model.kind", "poet", "model.kind"),
    ("model.batch", 0, "model.batch"),
    ("model.vocab_size", ABSENT, "model.vocab_size"),
    ("model.max_context", 2**40, "model.max_context"),
    ("model.max_context", 41, "symbols[1].max"),
    ("model.prefill_chunk", 9, "symbols[0].max"),
    ("model.eos", 0, "model.eos"),
    ("model.eos", ["x"], "model.eos[0]"),
    ("profile.align", 0, "profile.align"),
    ("profile.class", ABSENT, "profile.class"),
    ("symbols", {}, "symbols"),
    ("symbols.0.name", "past", "symbols[1].name"),
    ("symbols.3.name", "begin", "symbols"),
    ("symbols.0.kind", "guess", "symbols[0].kind"),
    ("symbols.1.max", -1, "symbols[1].max"),
    ("symbols.0.min", -1, "symbols[0].min"),
    ("buffers.0.kind", "weight", "buffers[0].kind"),
    ("buffers.0.dtype", "f8", "buffers[0].dtype"),
    ("buffers.0.bytes", 31, "buffers[0].bytes"),
    ("buffers.0.shape", ["many"], "buffers[0].shape[0]"),
    ("buffers.0.shape", [["seq", 9, "-"]], "buffers[0].shape[0]"),
    ("buffers.0.shape", [2**40, 2**40], "buffers[0].shape"),
    ("buffers.0.name", "words", "buffers"),
    ("buffers.1.dtype", "f32", "buffers[1].dtype"),
    ("buffers.3.update", ABSENT, "buffers[3].update"),
    ("buffers.3.update", "sometimes", "buffers[3].update"),
    ("buffers.3.shape", ["seq", 16], "buffers[3].shape[0]"),
    ("files.0.path", "../kernels/embed.cl", "files[0].path"),
    ("files.0.path", "/etc/passwd", "files[0].path"),
    ("files.0.path", "", "files[0].path"),
    ("files.0.sha256", "abc", "files[0].sha256"),
    ("files.0.bytes", -1, "files[0].bytes"),
    ("weights.0.file", 6, "weights[0].file"),
    ("weights.0.file", -1, "weights[0].file"),
    ("weights.0.file", 0, "weights[0].file"),
    ("weights.1.offset", 16383, "weights[1].offset"),
    ("weights.1.offset", 32768, "weights[1].offset"),
    ("weights.1.bytes", 3199, "weights[1].bytes"),
    ("weights.1.bytes", 3300, "weights[1].offset"),
    ("weights.1.shape", [-1, 5], "weights[1].shape[0]"),
    ("weights.1.dtype", ABSENT, "weights[1].dtype"),
    ("programs.0.source", "kernels/other.cl", "programs[0].source"),
    ("programs.0.kernel", "a b", "programs[0].kernel"),
    ("programs.0.kernel", "", "programs[0].kernel"),
    ("programs.0.defines", [["N"]], "programs[0].defines[0]"),
    ("programs.0.defines", [["N", 3]], "programs[0].defines[0][1]"),
    ("programs.0.defines", [["N", "1\n#include </etc/passwd>"]], "programs[0].defines[0]"),
    ("phases", [], "phases"),
    ("phases.0.name", "decode", "phases[1].name"),
    ("phases.1.name", "later", "phases"),
    ("phases.0.bounds", {"sequence": [1, 2]}, "phases[0].bounds.sequence"),
    ("phases.0.bounds.seq", [1, 9], "phases[0].bounds.seq[1]"),
    ("phases.0.bounds.seq", [5, 4], "phases[0].bounds.seq[1]"),
    ("phases.0.bounds.seq", [1], "phases[0].bounds.seq"),
    ("phases.0.bounds.seq", [2, 8], "phases[0].bounds"),
    ("phases.1.bounds.past", [0, 38], "phases[1].bounds"),
    ("phases.1.bounds.past", [1, 39], "phases[1].bounds"),
    ("phases.2.bounds.rows", [1, 7], "phases[2].bounds"),
    ("phases.0.cooperative", None, None),
    ("phases.0.cooperative", {"program": 4}, None),
    ("phases.0.cooperative", {"program": 5}, "phases[0].cooperative.program"),
    ("phases.0.cooperative", 4, "phases[0].cooperative"),
    ("phases.0.arena_bytes", 1023, "phases[0].scratch[1].offset"),
    ("phases.0.arena_bytes", ABSENT, "phases[0].arena_bytes"),
    ("phases.0.scratch.0.offset", 1, "phases[0].scratch[0].offset"),
    ("phases.0.scratch.0.offset", -128, "phases[0].scratch[0].offset"),
    ("phases.0.scratch.0.bytes", 511, "phases[0].scratch[0].bytes"),
    ("phases.0.scratch.0.bytes", 0, "phases[0].scratch[0].bytes"),
    ("phases.0.scratch.0.size", ["seq", "*"], "phases[0].scratch[0].size[1]"),
    ("phases.0.scratch.0.size", ["seq", 64], "phases[0].scratch[0].size"),
    ("phases.0.scratch.0.size", [], "phases[0].scratch[0].size"),
    ("phases.0.scratch.0.size", ["seq", 0, "//"], "phases[0].scratch[0].size"),
    ("phases.0.scratch.0.size", ["seq", 2**62, 2**62, "*", "*"], "phases[0].scratch[0].size"),
    ("phases.0.scratch.0.size", [1] * 99 + ["+"] * 98, "phases[0].scratch[0].size[32]"),
    ("phases.0.steps.1.args.1", ["scratch", 1], None),
    (f"{STEP}.kind", "dance", "phases[0].steps[0].kind"),
    (f"{STEP}.queue", 16, "phases[0].steps[0].queue"),
    (f"{STEP}.queue", -1, "phases[0].steps[0].queue"),
    (f"{STEP}.name", ABSENT, "phases[0].steps[0].name"),
    (f"{STEP}.args.0", ["image"], "phases[0].steps[0].args[0][0]"),
    (f"{STEP}.args.1", ["buffer"], "phases[0].steps[0].args[1]"),
    (f"{STEP}.args.1", ["buffer", 4], "phases[0].steps[0].args[1][1]"),
    (f"{STEP}.args.2", ["weight", 2], "phases[0].steps[0].args[2][1]"),
    (f"{STEP}.args.3", ["scratch", -1], "phases[0].steps[0].args[3][1]"),
    (f"{STEP}.args", {}, "phases[0].steps[0].args"),
    (f"{STEP}.writes", [4], "phases[0].steps[0].writes[0]"),
    (f"{STEP}.writes", [2], "phases[0].steps[0].writes[0]"),
    (f"{STEP}.variants", [], "phases[0].steps[0].variants"),
    (f"{VARIANT}.program", 5, "phases[0].steps[0].variants[0].program"),
    (f"{VARIANT}.global", [], "phases[0].steps[0].variants[0].global"),
    (f"{VARIANT}.global", [1, 1, 1, 1], "phases[0].steps[0].variants[0].global"),
    (f"{VARIANT}.global", [["seq", 2, "-"]], "phases[0].steps[0].variants[0].global[0]"),
    (f"{VARIANT}.global", [2**33], "phases[0].steps[0].variants[0].global[0]"),
    (f"{VARIANT}.local", [0], "phases[0].steps[0].variants[0].local[0]"),
    (f"{VARIANT}.local", [32], "phases[0].steps[0].variants[0].global[0]"),
    (f"{VARIANT}.local", [1, 1], "phases[0].steps[0].variants[0].local"),
    (f"{VARIANT}.requires", ["magic"], "phases[0].steps[0].variants[0].requires[0]"),
    (f"{VARIANT}.local_bytes", -1, "phases[0].steps[0].variants[0].local_bytes"),
    (f"{VARIANT}.local_bytes", 2**31, "phases[0].steps[0].variants[0].local_bytes"),
    (f"{VARIANT}.local_bytes", "32 KiB", "phases[0].steps[0].variants[0].local_bytes"),
    (f"{VARIANT}.local_bytes", 2**31 - 1, None),
    (f"{VARIANT}.local_bytes", None, None),
    ("phases.0.steps.5.op", "sing", "phases[0].steps[5].op"),
    ("phases.0.steps.5.buffer", 9, "phases[0].steps[5].buffer"),
    ("phases.0.steps.6.queue", "x", "phases[0].steps[6].queue"),
    ("phases.0.steps", {}, "phases[0].steps"),
    ("anything", {"else": [1, 2]}, None),
]


@pytest.mark.parametrize("path, value, named", MUTATIONS)
def test_every_check(program: Path, toy: Toy, path: str, value: Any, named: str | None) -> None:
    toy.save_json(put(path, value))
    code, (line,), _ = check(program, toy.folder)
    if named is None:
        assert (code, line) == (0, "ok 3 phases")
    else:
        facts = failure(line)
        assert code == 1 and named in facts["what"] and facts["because"] and facts["hint"]
        assert facts["what"].endswith(named) or "format" in named


def test_scratch_in_use_at_once_may_not_overlap(program: Path, toy: Toy) -> None:
    def overlap(plan: dict[str, Any]) -> None:
        plan["phases"][0]["scratch"][1]["offset"] = 384

    toy.save_json(overlap)  # x is last read by step 1, y first written by step 2
    assert check(program, toy.folder)[0] == 0

    def overlap_alive(plan: dict[str, Any]) -> None:
        overlap(plan)
        plan["phases"][0]["steps"][2]["args"][1] = ["scratch", 0]

    toy.save_json(overlap_alive)
    _, (line,), _ = check(program, toy.folder)
    assert failure(line)["what"].endswith("phases[0].scratch[1].offset")


def test_files(program: Path, toy: Toy, tmp_path: Path) -> None:
    weights = toy.folder / "weights.0.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    code, (line,), _ = check(program, toy.folder)
    facts = failure(line)
    assert code == 1 and facts["what"] == f"{weights} is damaged"
    assert f"{len(content) - 1} bytes instead of {len(content)}" in facts["because"]
    weights.unlink()
    assert "No such file" in failure(check(program, toy.folder)[1][0])["because"]
    weights.mkdir()
    assert check(program, toy.folder)[0] == 1
    assert "nowhere" in failure(check(program, tmp_path / "nowhere")[1][0])["what"]
    assert "plan.json" in failure(check(program, tmp_path)[1][0])["what"]


@pytest.mark.parametrize(
    "text, because",
    [
        ("", "line 1, column 1: the file ends too early"),
        ("{", "expected a string"),
        ('{"a": 1,}', "line 1, column 9"),
        ("[1 2]", "expected ']'"),
        ("{'a': 1}", "expected a string"),
        ('{"a": 1, "a": 2}', 'the key "a" stands there twice'),
        ('{"a": 01}', "expected a value"),
        ('{"a": +1}', "expected a value"),
        ('{"a": -}', "expected a value"),
        ('{"a": 1.}', "digits after the point"),
        ('{"a": 1e}', "digits in the exponent"),
        ('{"a": 1e999}', "too large"),
        ('{"a": NaN}', "expected a value"),
        ('{"a": "\\x"}', "unknown escape"),
        ('{"a": "\\u12g4"}', "four hexadecimal digits"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": "\\udc00\\ud800"}', "lone surrogate"),
        ('{\n"a": "\t"}', "line 2, column 8: a control character"),
        ('{"a": "', "inside a string"),
        ("{} {}", "something follows"),
        ("[" * 100000, "nested too deeply"),
        ('{"a":' * 100000, "nested too deeply"),
        ("\ufeff{}", "expected a value"),
    ],
)
def test_json_is_read_strictly(program: Path, tmp_path: Path, text: str, because: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    code, (line,), _ = check(program, tmp_path)
    facts = failure(line)
    assert code == 1 and facts["what"] == "plan.json is not JSON" and because in facts["because"]


def test_json_values(program: Path, toy: Toy) -> None:
    names = {'\u00e9\u20ac\U0001f600\n"\\/\b': [1e-5, -0, 2**63 - 1, 2**70, True, None, {}, []]}
    toy.save_json(put("anything", names))
    assert check(program, toy.folder)[:2] == (0, ["ok 3 phases"])
    toy.save_json(put("model.kind", "\u00e9\u20ac\U0001f600\n"))  # escaped in the file
    assert (
        '"\u00e9\u20ac\U0001f600\\n" is none of'
        in failure(check(program, toy.folder)[1][0])["because"]
    )
