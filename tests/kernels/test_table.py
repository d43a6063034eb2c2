"""What the lowering relies on in every entry of KERNELS, without a device."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sympy

from opencl_kernels import KERNELS, Kernel, default_knobs, source_text
from opencl_kernels.kernel import FOLDER, Case, Knobs, row_count

CASES = [
    pytest.param(kernel, case, device_class, id=f"{name}-{index}-{device_class}")
    for name, kernel in KERNELS.items()
    for index, case in enumerate(kernel.cases)
    for device_class in kernel.classes
]


def sizes(kernel: Kernel, case: Case, knobs: Knobs) -> list[Any]:
    grid = kernel.grid(case, knobs)
    return [*grid[0], *grid[1], *(d for a in kernel.arguments(case) for d in a.shape(case))]


@pytest.mark.parametrize(("kernel", "case", "device_class"), CASES)
def test_sizes_may_be_expressions(kernel: Kernel, case: Case, device_class: str) -> None:
    knobs = default_knobs(kernel, device_class)
    count = "COUNT" if "COUNT" in case else "M"
    rows = sympy.Symbol("seq", integer=True, positive=True)
    symbolic = sizes(kernel, {**case, count: rows}, knobs)
    assert [int(sympy.sympify(s).subs(rows, case[count])) for s in symbolic] == sizes(
        kernel, case, knobs
    )


@pytest.mark.parametrize("name", KERNELS)
def test_source_stands_alone_and_has_its_kernel(name: str) -> None:
    kernel = KERNELS[name]
    text = source_text(kernel.source)
    assert kernel.name == name
    assert "#include" not in text
    assert re.search(rf"\b{name}\b", text), "the file never names its kernel"


def test_files_have_names_of_their_own() -> None:
    """A plan has one folder for the kernels of all families."""
    names = [path.name for path in FOLDER.rglob("*.cl")]
    assert len(set(names)) == len(names)
    assert {kernel.source for kernel in KERNELS.values()} <= set(names)


@pytest.mark.parametrize("name", KERNELS)
def test_cases_have_names_of_their_own_and_odd_sizes(name: str) -> None:
    cases = KERNELS[name].cases
    assert len({tuple(map(str, case.items())) for case in cases}) == len(cases)
    assert any(size % 2 for case in cases for size in case.values() if isinstance(size, int))
    assert all(eval_rows(case) == case["M"] for case in cases if "M" in case)


def eval_rows(case: Case) -> int:
    """M as the launcher's header has it: what the kernels will see."""
    symbols = {"SEQ": case.get("seq", 1), "ROWS": case.get("rows_n", 1)}
    return int(eval(row_count(case), {}, symbols))
