"""What the lowering relies on in every entry of FAMILIES and CLASSES, without a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sympy

from opencl_kernels import FAMILIES, KERNELS, Family, Kernel, family_of, source_text
from opencl_kernels.case import Case, as_json, case_id, row_count, spelled
from opencl_kernels.device_class import CLASSES, lineage
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import FOLDER, INCLUDE, Knobs
from opencl_kernels.layouts import LAYOUTS, Stored
from opencl_kernels.tuned import default_knobs, values_of
from toolkit.plan.reader import decode

CASES = [
    pytest.param(family, case, id=f"{family.name}-{case_id(case)}")
    for family in FAMILIES.values()
    for case in (*family.cases, *family.bench_cases)
]
LAUNCHED = [
    pytest.param(family, kernel, case, device_class, id=f"{kernel.name}-{index}-{device_class}")
    for family in FAMILIES.values()
    for index, case in enumerate(family.cases)
    for device_class in CLASSES
    for kernel in kernels_for(family, device_class, case)
]
SEQ = sympy.Symbol("seq", integer=True, positive=True)


def sizes(family: Family, kernel: Kernel, case: Case, knobs: Knobs) -> list[Any]:
    grid = kernel.grid(case, knobs)
    return [*grid[0], *grid[1], *(d for a in family.arguments(case) for d in a.shape)]


@pytest.mark.parametrize(("family", "kernel", "case", "device_class"), LAUNCHED)
def test_sizes_may_be_expressions(
    family: Family, kernel: Kernel, case: Any, device_class: str
) -> None:
    knobs = default_knobs(kernel, device_class)
    if hasattr(case, "M"):
        number, symbolic = case.M, replace(case, M=SEQ)
    else:  # its sizes are written over symbols
        number, symbolic = case.symbols.seq, replace(case, at=replace(case.symbols, seq=SEQ))
    found = sizes(family, kernel, symbolic, knobs)
    assert [int(sympy.sympify(s).subs(SEQ, number)) for s in found] == sizes(
        family, kernel, case, knobs
    )


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("device_class", CLASSES)
def test_every_class_has_a_kernel_for_every_case(family: Family, device_class: str) -> None:
    """And ends in one that every device runs."""
    for case in (*family.cases, *family.bench_cases):
        kernels = kernels_for(family, device_class, case)
        assert kernels and "generic" in kernels[-1].classes, case_id(case)
        assert kernels[-1].requires(case, default_knobs(kernels[-1], device_class)).features == ()


def test_classes_know_their_parents_layouts_and_kernels() -> None:
    for name, device_class in CLASSES.items():
        assert device_class.name == name and lineage(device_class)[-1].parent is None
        assert set(device_class.layouts) == {"f32", "f16", "e0m4", "q8"}
        assert set(device_class.layouts.values()) <= set(LAYOUTS)
        for kernel, knobs in device_class.knobs.items():
            assert set(knobs) <= set(KERNELS[kernel].knobs), kernel
        for kernel in KERNELS.values():
            assert all(values_of(kernel, knob, name) for knob in kernel.knobs)
    assert {each for kernel in KERNELS.values() for each in kernel.classes} <= set(CLASSES)


def test_layouts_have_headers() -> None:
    for name, layout in LAYOUTS.items():
        assert layout.name == name and (INCLUDE / layout.header).is_file()


@pytest.mark.parametrize("name", KERNELS)
def test_source_stands_alone_and_has_its_kernel(name: str) -> None:
    kernel = KERNELS[name]
    text = source_text(kernel.source)
    assert kernel.name == name and kernel in family_of(name).kernels
    assert "#include" not in text and "__kernel" in text


def test_files_have_names_of_their_own() -> None:
    """A plan has one folder for the kernels of all families."""
    names = [path.name for path in FOLDER.rglob("*.cl")]
    assert len(set(names)) == len(names)
    assert {kernel.source for kernel in KERNELS.values()} <= set(names)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_cases_have_names_of_their_own_and_odd_sizes(family: Family) -> None:
    cases = family.cases
    assert len(set(map(case_id, cases))) == len(cases)
    assert any(size % 2 for case in cases for size in numbers_of(case))
    for case in (*cases, *family.bench_cases):
        if hasattr(case, "M"):
            assert seen_rows(case) == case.M, case_id(case)


def numbers_of(case: Any) -> list[int]:
    """Sizes of a case, the lengths of its axes among them."""
    if hasattr(case, "axes"):
        return list(case.numbers())
    if isinstance(getattr(case, "parts", None), tuple):
        return [size for part in case.parts for size in part.axes]
    return [size for _, size in spelled(case) if isinstance(size, int)]


def seen_rows(case: Case) -> int:
    """M as the launcher's header has it: what the kernels will see."""
    symbols = {"SEQ": case.symbols.seq, "ROWS": case.symbols.rows}
    return int(eval(row_count(case), {}, symbols))


@pytest.mark.parametrize(("family", "case"), CASES)
def test_a_case_is_read_from_a_plan_as_it_was_written(family: Family, case: Any) -> None:
    case = fixed(case)
    written = as_json(case)
    assert "at" not in written
    assert decode(family.case, written, "case") == case


def fixed(case: Any) -> Any:
    """The case with numbers for all of its sizes."""
    if not hasattr(case, "axes"):
        return replace(case, M=7) if hasattr(case, "M") else case
    inputs = tuple(replace(each, size=int(case.at_numbers(each.size))) for each in case.inputs)
    given = {name: getattr(case, name) for name in ("elements",) if hasattr(case, name)}
    sized = {name: int(case.at_numbers(size)) for name, size in given.items() if size is not None}
    return replace(case, axes=tuple(case.numbers()), inputs=inputs, **sized)


@pytest.mark.parametrize(
    "damage",
    [
        {"w": {"dtype": "e5m2"}},
        {"w": {"layout": "rows"}},
        {"w": {"dtype": "q8", "layout": "q8", "group": 3}},
        {"glu": {"F": 3, "activation": "gelu"}},
    ],
)
def test_a_case_that_no_kernel_computes_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        decode(FAMILIES["gemm"].case, {"M": 1, "N": 1, "K": 1, **damage}, "case")


def test_supports_says_why_not() -> None:
    case = replace(FAMILIES["gemv"].cases[0], w=Stored())
    assert KERNELS["gemv_quantized_cpu"].supports(case) == "it reads codes"
