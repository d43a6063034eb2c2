"""Where tests lie: a folder for each package, and what files share apart from them."""

import ast
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from patience import wait_for

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
# Folders that test no package of toolkit: the other layers, the runner, whole models.
OTHERS = {"tests/kernels", "tests/passes", "tests/runner", "tests/models"}
SHARED = set(OPTIONS["pythonpath"])  # what lies there is imported by its plain name, by any test
PATHS = sorted(str(path.relative_to(ROOT)) for path in TESTS.rglob("*.py"))


def is_program(source: str) -> bool:
    return "\nif __name__ == " in source


def stray(path: str, source: str) -> bool:
    """Whether this module should lie with what tests share: no test, no fixtures, no program."""
    folder, name = str(Path(path).parent), Path(path).stem
    is_own = name.startswith("test_") or name == "conftest" or is_program(source)
    return folder not in SHARED and not is_own


def unclear(paths: list[str]) -> list[str]:
    """Plain names of shared modules that Python has as well, or that are there twice."""
    names = [Path(path).stem for path in paths if str(Path(path).parent) in SHARED]
    twice = [name for name, count in Counter(names).items() if count > 1 and name != "conftest"]
    return sorted({*twice, *(name for name in names if name in sys.stdlib_module_names)})


def waits_by_hand(source: str) -> list[int]:
    """Lines that sleep a fixed time in a loop: what they wait for may never come, or come later."""
    loops = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For | ast.While)]
    calls = [node for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in ("time.sleep", "sleep")
        and all(isinstance(each, ast.Constant) for each in call.args)
    ]


def test_every_package_has_a_folder_of_tests() -> None:
    packages = {f"tests/{path.parent.name}" for path in ROOT.glob("toolkit/*/__init__.py")}
    tested = {str(Path(path).parent) for path in PATHS if Path(path).name.startswith("test_")}
    assert tested == packages | OTHERS | {"tests"}


def test_what_tests_share_lies_apart() -> None:
    assert [path for path in PATHS if stray(path, (ROOT / path).read_text())] == []


def test_shared_modules_have_names_of_their_own() -> None:
    assert unclear(PATHS) == []


def test_no_test_lies_with_what_tests_share() -> None:
    assert not list((TESTS / "support").rglob("test_*.py"))


def test_tests_wait_with_an_end_and_a_word() -> None:
    """By `wait_for`, which is the only loop that sleeps."""
    found = {path: waits_by_hand((ROOT / path).read_text()) for path in PATHS}
    assert {path for path, lines in found.items() if lines} == {"tests/support/patience.py"}


def test_a_wait_in_vain_says_for_what() -> None:
    with pytest.raises(pytest.fail.Exception, match="in vain: the kettle"):
        wait_for(lambda: False, "the kettle", seconds=0.02)


def test_the_rules_can_fail() -> None:
    assert stray("tests/plan/helper.py", "x = 1\n")
    assert not stray("tests/plan/drill.py", 'x = 1\nif __name__ == "__main__":\n    main()\n')
    assert not stray("tests/support/helper.py", "x = 1\n")
    shared = ["tests/support/toy.py", "tests/phone/toy.py", "tests/support/json.py"]
    assert unclear([*shared, "tests/plan/json.py"]) == ["json", "toy"]
    assert waits_by_hand("while not ready():\n    time.sleep(0.05)\n") == [2]
