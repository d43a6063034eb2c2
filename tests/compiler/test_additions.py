"""What a newcomer adds: a class of devices, a kernel of a family; each at one place."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import DEMO
from launches import check_launch, every_case, lacking

import toolkit
from opencl_kernels import FAMILIES, KERNELS, Kernel, kernel
from opencl_kernels.case import Defines
from opencl_kernels.device_class import CLASSES, GENERIC, DeviceClass
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import FOLDER, Knobs, Requires, worker_grid
from opencl_kernels.norm.rmsnorm import Rows
from toolkit.compiler.report import CompileReport
from toolkit.evaluation.verify import verify

TOY = replace(GENERIC, name="toy", parent="generic", chunk=48, knobs={"rmsnorm": {"WG": (16,)}})
SOURCE = """// y = x / sqrt(mean(x^2) + EPS) * gamma, a work-item for each row
#include "common.clh"
__kernel void rmsnorm_toy(__global const int *sym, __global const STORAGE(X_HALF) *x,
                          __global const float *gamma, __global STORAGE(Y_HALF) *y) {
  for (int m = get_global_id(0); m < M; m += get_global_size(0)) {
    float sum = 0.0f;
    for (int d = 0; d < D; d++) {
      const float value = LOAD(X_HALF, x, ROW(m) * D + d);
      sum += value * value;
    }
    const float scale = 1.0f / sqrt(sum / D + EPS);
    for (int d = 0; d < D; d++)
      STORE(Y_HALF, LOAD(X_HALF, x, ROW(m) * D + d) * scale * gamma[d], y, m * D + d);
  }
}
"""


def defines(case: Rows, knobs: Knobs) -> Defines:
    (portable,) = kernels_for(FAMILIES["rmsnorm"], "generic")[:1]
    return portable.defines(case, {"WG": 64})


NEW = Kernel(
    name="rmsnorm_toy",
    source="rmsnorm_toy.cl",
    classes=("toy",),
    defines=defines,
    grid=worker_grid,
    knobs={"WORKERS": (4,)},
    supports=lambda case: "it is plain" if case.last_rows or case.residual else None,
    options=("-cl-mad-enable",),
)


@pytest.fixture(autouse=True)
def device_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DeviceClass]:
    """The class, and an entry of devices.yaml whose device is of it."""
    monkeypatch.setitem(CLASSES, "toy", TOY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pocketcl").mkdir()
    entry = "devices: {toy-phone: {class: toy, compute_units: 2, align: 128}}\n"
    (tmp_path / "pocketcl/devices.yaml").write_text(entry)
    yield TOY


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Adds a kernel to the family of norms: its .cl, and a line in the family's tuple."""

    def added(requires: Requires) -> Kernel:
        new = replace(NEW, requires=lambda *_: requires)
        shutil.copytree(FOLDER, tmp_path / "kernels", ignore=shutil.ignore_patterns("*.py"))
        (tmp_path / "kernels/norm" / new.source).write_text(SOURCE)
        monkeypatch.setattr(kernel, "FOLDER", tmp_path / "kernels")
        norms = FAMILIES["rmsnorm"]
        monkeypatch.setitem(FAMILIES, "rmsnorm", replace(norms, kernels=(new, *norms.kernels)))
        monkeypatch.setitem(KERNELS, new.name, new)
        return new

    return added


def compiled(tmp_path: Path) -> CompileReport:
    options = {"activations": "f32", "kv": "f32"}
    return toolkit.compile(DEMO, tmp_path / "toy.plan", device="toy-phone", **options)


@pytest.mark.slow  # the rest of this file is not
def test_a_new_class_runs_every_case_of_every_family(queue: Any, add: Any) -> None:
    new = add(Requires())
    launched = {launch.values[1].name for launch in every_case(("toy",))}
    assert new.name in launched and "rmsnorm" in launched  # the last rows are the portable one's
    for launch in every_case(("toy",)):
        _, each, case, knobs = launch.values
        if lacking(queue, each.requires(case, knobs).features):
            continue
        if not launch.marks:  # the class's knobs; other values are the same on every class
            check_launch(queue, *launch.values)


@pytest.mark.parametrize(
    "on, requires",
    [
        pytest.param("host", Requires(("int_dot",)), marks=pytest.mark.slow),
        pytest.param("host", Requires(), marks=pytest.mark.slow),
        pytest.param("runner", Requires(), marks=pytest.mark.slow),
        pytest.param("runner", Requires(("int_dot",)), marks=pytest.mark.slow),
    ],
)
def test_a_new_kernel_is_chosen_where_the_device_has_what_it_requires(
    on: str, requires: Requires, add: Any, tmp_path: Path
) -> None:
    """PoCL has no integer dot products: both executors take the next variant."""
    add(requires)
    report = compiled(tmp_path)
    assert report.plan.model["prefill_chunk"] == 48
    first = [
        (report.plan.programs[d.variants[0].program].kernel, d.variants)
        for phase in report.plan.phases
        for d in phase.dispatches()
    ]
    norms = [variants for name, variants in first if name == "rmsnorm_toy"]
    assert norms and all(variants[0].requires == requires.features for variants in norms)
    programs = [p for p in report.plan.programs if p.kernel == "rmsnorm_toy"]
    assert programs and all(program.options == ("-cl-mad-enable",) for program in programs)
    assert all(len(variants) == 2 and variants[1].requires == () for variants in norms)
    assert verify(report.path, on=on)["ok"]


def test_a_kernel_that_takes_too_much_local_memory_is_left_out(add: Any, tmp_path: Path) -> None:
    add(Requires(local_bytes=1 << 20))
    assert all(program.kernel != "rmsnorm_toy" for program in compiled(tmp_path).plan.programs)
