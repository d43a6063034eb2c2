"""What the runner's loader refuses, without OpenCL (`--check`)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from edits import ABSENT, both, put
from talk import failure
from toy import Toy


def check(program: Path, *plans: Path) -> tuple[int, list[str], str]:
    """Exit code, answers and notes of `--check`."""
    command = [str(program), "--check", *map(str, plans)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    lines = done.stdout.decode(errors="replace").splitlines()
    return done.returncode, lines, done.stderr.decode(errors="replace")


@pytest.mark.parametrize(
    "value, because",
    [(ABSENT, "missing"), ("2", "integer"), (2.0, "integer"), (1, "format 2"), (3, "format 2")],
)
def test_the_format_comes_first(program: Path, toy: Toy, value: Any, because: str) -> None:
    toy.save_json(both(put("format", value), put("model", 3)))
    code, (line,), _ = check(program, toy.folder)
    facts = failure(line)
    assert code == 1 and "format" in facts["what"] and because in facts["because"]
    assert facts["hint"].startswith("compile the model again")


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
    toy.save_json(put("model.kind", "\u00e9\u20ac\U0001f600"))  # escaped in the file
    assert (
        '"\u00e9\u20ac\U0001f600" is none of'
        in failure(check(program, toy.folder)[1][0])["because"]
    )
