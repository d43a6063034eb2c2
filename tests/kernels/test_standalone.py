"""Every .cl file compiles as it stands, with an example of all that a plan defines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from launches import skip_without

from opencl_kernels import KERNELS, Kernel, family_of, source_text
from opencl_kernels.kernel import FOLDER, INCLUDE
from opencl_kernels.launch import all_defines
from opencl_kernels.tuned import default_knobs

FILES = sorted(FOLDER.glob("*/*.cl"))
DEFAULT = re.compile(r"^#ifndef (\w+)(?: //.*)?\n#define \1(?:\([a-z]\))? (.+)\n#endif$", re.M)
# Of as many inputs, or outputs, as a case has; of each product of a pair
NUMBERED = re.compile(
    r"A\d+_HALF|IDX\d+|(TYPE|OUTER|INNER|COORDINATES|LAST|LETS|VALUE|INTO)\d|(N|K|LDX|X0)_\d"
)


def defaults(text: str) -> dict[str, str]:
    """What a text defines where nobody else did."""
    return dict(DEFAULT.findall(text))


def defined(kernel: Kernel) -> set[str]:
    """The names that plans define for a kernel, over all its cases."""
    knobs = default_knobs(kernel, kernel.classes[0])
    names = (all_defines(kernel, case, knobs) for case in supported(kernel))
    return {name.partition("(")[0] for each in names for name in each}


def required(file: Path) -> set[str]:
    """The features that a file's kernels require of a device."""
    kernels = [kernel for kernel in KERNELS.values() if kernel.source == file.name]
    return {
        feature
        for kernel in kernels
        for case in supported(kernel)
        for feature in kernel.requires(case, default_knobs(kernel, kernel.classes[0])).features
    }


def supported(kernel: Kernel) -> list[Any]:
    """The cases that tests run the kernel on."""
    return [case for case in family_of(kernel.name).cases if kernel.supports(case) is None]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_compiles_as_it_stands(queue: Any, file: Path) -> None:
    cl = pytest.importorskip("pyopencl")
    skip_without(queue, required(file))
    program = cl.Program(queue.context, file.read_text(encoding="utf-8"))
    program.build(["-I", str(INCLUDE)], devices=[queue.device])
    names = [k.name for k in KERNELS.values() if k.source == file.name]
    assert not names or {k.function_name for k in program.all_kernels()} & set(names)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_knobs_default_to_the_same_in_c_and_python(kernel: Kernel) -> None:
    (file,) = (f for f in FILES if f.name == kernel.source)
    found = defaults(file.read_text(encoding="utf-8"))
    knobs = {name: str(values[0]) for name, values in kernel.knobs.items()}
    assert {name: found.get(name) for name in knobs} == knobs


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_what_a_file_reads_of_a_plans_defines_has_a_default(kernel: Kernel) -> None:
    text = source_text(kernel.source)
    read = {name for name in defined(kernel) if re.search(rf"\b{name}\b", text)}
    missing = read - set(defaults(text))
    assert {name for name in missing if not NUMBERED.fullmatch(name)} == set()


@pytest.mark.parametrize("source", sorted({kernel.source for kernel in KERNELS.values()}))
def test_every_default_of_a_file_is_of_something_that_plans_define(source: str) -> None:
    (file,) = (f for f in FILES if f.name == source)
    kernels = [kernel for kernel in KERNELS.values() if kernel.source == source]
    known = set().union(*map(defined, kernels), *(kernel.knobs for kernel in kernels))
    assert set(defaults(file.read_text(encoding="utf-8"))) - known == set()
