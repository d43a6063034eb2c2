"""The step kernel that the compiler composes, and its key in the plan."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl
import pytest

from toolkit.compiler.cooperative import compose, with_steps
from toolkit.errors import PocketError
from toolkit.executors.opencl.device_choice import choose_device
from toolkit.plan.check import check_plan
from toolkit.plan.load import load_plan
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Dispatch, Plan, Program, Variant
from toolkit.plan.text import to_json

# Both have a helper, a type and macros of the same names; one is called as a function of OpenCL.
# Defaults: of BY, which plans define, and of TIMES, which they don't and which both set otherwise.
FIRST = """
#ifndef BY // stands in no plan
#define BY 50
#endif
#ifndef TIMES
#define TIMES 1
#endif
#define STEP(x) ((x) + BY * TIMES)
#define PARAMS __global const float *x, __global float *y
typedef struct { float v; } item;
float mix(item a) { return STEP(a.v); }
void first_body(int id, int n, PARAMS) {
  for (int i = id; i < 8; i += n) { const item a = {x[i]}; y[i] = mix(a); }
}
__kernel void first(PARAMS) { first_body(get_global_id(0), get_global_size(0), x, y); }
"""
SECOND = """
#ifndef BY
#define BY 60
#endif
#ifndef TIMES
#define TIMES 2
#endif
#define STEP(x) ((x) * BY * TIMES)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define HELPER JOIN(help, BY)
#define PARAMS __global const float *x, __global const float *w, __global float *y
typedef int item;
float HELPER(float v, item by) { return STEP(v) * by; }
void second_body(int id, int n, PARAMS) {
  for (item i = id; i < 8; i += n) y[i] = mix(HELPER(x[i], 1), w[i], 0.5f);
}
__kernel void second(PARAMS) { second_body(get_global_id(0), get_global_size(0), x, w, y); }
"""
KERNELS = {"kernels/first.cl": FIRST, "kernels/second.cl": SECOND}
NAMES = ("first", "second")


def step(program: int, args: int) -> Dispatch:
    refs = tuple(("buffer", i % 2) for i in range(args))
    return Dispatch(0, f"step {program}", refs, (), (Variant(program, (8,), (1,)),))


@pytest.fixture
def plan(plan_path: Path) -> Plan:
    """A plan whose decode phase is first (adding 1), second (times 6), first (adding 2)."""
    toy = load_plan(plan_path)
    programs = tuple(
        Program(f"kernels/{NAMES[i]}.cl", NAMES[i], (("BY", by),))
        for i, by in ((0, "1"), (1, "3"), (0, "2"))
    )
    steps = (step(0, 2), step(1, 3), step(2, 2))
    phases = tuple(
        dataclasses.replace(p, steps=steps) if p.name == "decode" else p for p in toy.phases
    )
    return dataclasses.replace(toy, programs=programs, phases=phases)


def decode(plan: Plan) -> Any:
    return plan.phase("decode")


def run(text: str, groups: int, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """first, second, first, second of x, through a table of addresses."""
    context = cl.Context([choose_device()])
    queue, flags = cl.CommandQueue(context), cl.mem_flags.READ_WRITE
    program = cl.Program(context, text).build()
    at, steps = cl.Kernel(program, "address"), cl.Kernel(program, "steps")
    buffers = [cl.Buffer(context, flags | cl.mem_flags.COPY_HOST_PTR, hostbuf=v) for v in (x, w)]
    buffers += [cl.Buffer(context, flags, x.nbytes) for _ in range(2)]
    found, addresses = cl.Buffer(context, flags, 32), np.zeros(4, np.uint64)
    for i, buffer in enumerate(buffers):
        at(queue, (1,), (1,), buffer, found, np.int32(i))
    cl.enqueue_copy(queue, addresses, found)
    a, b, c, d = map(int, addresses)
    ops = np.array([0, 4, a, c, 1, 5, c, b, d, 2, 4, d, c], np.uint64)
    table = cl.Buffer(context, flags | cl.mem_flags.COPY_HOST_PTR, hostbuf=ops)
    meeting = cl.Buffer(context, flags, 256)
    cl.enqueue_fill_buffer(queue, meeting, np.int32(0), 0, 256)
    y = np.zeros_like(x)
    for _ in range(3):  # the counters end as they began
        steps(queue, (groups,), (1,), table, np.int32(3), meeting)
    cl.enqueue_copy(queue, y, buffers[2])
    return y


def test_names_that_clash(plan: Plan) -> None:
    text = compose(plan, decode(plan), KERNELS)
    x, w = np.arange(8, dtype=np.float32), np.full(8, 4, np.float32)
    expected = ((x + 1) * 6 + 4) / 2 + 2
    for groups in {1, choose_device().max_compute_units}:
        np.testing.assert_array_equal(run(text, groups, x, w), expected)


def test_each_program_stands_there_once(plan: Plan) -> None:
    steps = (*decode(plan).steps, step(1, 3))
    text = compose(plan, dataclasses.replace(decode(plan), steps=steps), KERNELS)
    assert text.count("\n__kernel ") == 3 and text.count("void second_body(") == 1
    assert text.count("case 1: second_body__1(id, n, ARG(0), ARG(1), ARG(2)); break;") == 1
    assert [line for line in text.splitlines() if line.startswith("// --- ")][:3] == [
        f"// --- {i}: {name} ".ljust(98, "-") for i, name in enumerate(("first", "second", "first"))
    ]


def test_one_text_is_built_one_way(plan: Plan) -> None:
    fast = ("-cl-mad-enable",)
    alike = tuple(dataclasses.replace(program, options=fast) for program in plan.programs)
    changed, _, why = with_steps(dataclasses.replace(plan, programs=alike), KERNELS)
    assert why == "" and changed.programs[-1].options == fast
    mixed = dataclasses.replace(plan, programs=(alike[0], *plan.programs[1:]))
    changed, _, why = with_steps(mixed, KERNELS)
    assert changed is mixed and why == "second: it is built with other options than the rest"


def test_the_plan_gets_a_program_and_a_key(plan: Plan) -> None:
    changed, texts, why = with_steps(plan, KERNELS)
    assert why == "" and set(texts) == {*KERNELS, "kernels/decode.steps.cl"}
    assert changed.programs[3] == Program("kernels/decode.steps.cl", "steps", ())
    assert decode(changed).cooperative.program == 3
    assert decode(changed).steps == decode(plan).steps
    assert json.loads(to_json(changed))["phases"][1]["cooperative"] == {"program": 3}
    assert from_json(to_json(changed)) == changed
    assert "cooperative" not in to_json(plan)
    assert with_steps(plan, KERNELS)[1] == texts


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("first_body(int", "other_body(int", "first (kernels/first.cl): it has no function first_"),
        ("i += n", "i += get_global_size(0)", "get_global_size is used outside of its __kernel"),
        ("const item a", "__local int b; const item a", "__local is used outside"),
        ("#define STEP(x)", "#define STEP(x, ...)", "#define STEP(x, ...)"),
    ],
)
def test_a_kernel_that_has_no_body(plan: Plan, old: str, new: str, why: str) -> None:
    kernels = KERNELS | {"kernels/first.cl": FIRST.replace(old, new)}
    same, texts, reason = with_steps(plan, kernels)
    assert same is plan and texts == kernels and why in reason


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: dataclasses.replace(plan, profile={**plan.profile, "class": "adreno"}),
        lambda plan: dataclasses.replace(plan, model={**plan.model, "batch": 2}),
        lambda plan: dataclasses.replace(plan, phases=plan.phases[:1]),
    ],
)
def test_only_decode_of_one_text_on_a_cpu(plan: Plan, change: Callable[[Plan], Plan]) -> None:
    other = change(plan)
    assert with_steps(other, KERNELS) == (
        other, KERNELS, "only decode of one text on a CPU runs as one launch",
    )  # fmt: skip


def test_work_groups_of_several_items(plan: Plan) -> None:
    wide = dataclasses.replace(decode(plan).steps[0], variants=(Variant(0, (8,), (8,)),))
    with pytest.raises(PocketError, match="step 0"):
        compose(plan, dataclasses.replace(decode(plan), steps=(wide,)), KERNELS)


@pytest.mark.parametrize(
    "value, fault",
    [
        (7, "phases[1].cooperative: expected an object"),
        ({}, "phases[1].cooperative.program: the key is missing"),
        ({"program": "steps"}, "phases[1].cooperative.program: expected int"),
        ({"program": 99}, "phases[1].cooperative.program: index 99 is out of range"),
        ({"program": -1}, "phases[1].cooperative.program: index -1 is out of range"),
    ],
)
def test_a_damaged_key_is_one_error(edit: Callable[..., Path], value: Any, fault: str) -> None:
    path = edit(lambda body: body["phases"][1].update(cooperative=value))
    with pytest.raises(PocketError) as caught:
        check_plan(from_json((path / "plan.json").read_text()))
    assert fault in str(caught.value)


def test_the_demo_in_one_text(tmp_path: Path) -> None:
    from toolkit import compile
    from toolkit.cli.demo import MODEL

    report = compile(MODEL, tmp_path / "demo.plan")
    steps = decode(report.plan)
    assert report.figures["cooperative"] == "decode"
    text = (report.path / "kernels/decode.steps.cl").read_text()
    for dispatch in steps.dispatches():
        assert f"case {dispatch.variants[0].program}: " in text
    context = cl.Context([choose_device()])
    assert cl.Program(context, text).build().kernel_names.startswith("steps;")
