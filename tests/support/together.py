"""The toy with kernels that have bodies, in names and macros that clash, and its step kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

from toy import HEADER, Toy

from toolkit.compiler.cooperative import compose
from toolkit.plan.load import load_plan

SHARE = """
#define SHARE(id, n, count) ((int)((long)(id) * (count) / (n)))
#define EACH(i) for (int i = SHARE(id, n, ITEMS); i < SHARE(id + 1, n, ITEMS); i++)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
"""
KERNEL = """
void JOIN({name}, _body)(int id, int n, PARAMS) {{
  EACH(i) {{ {work} }}
}}
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void {name}(PARAMS) {{
  {name}_body(get_global_id(0), get_global_size(0), ARGS);
}}
"""
# For each kernel: parameters, arguments, items, helpers, what is done for item i.
PARTS = {
    "embed": (
        "__global const int *sym, __global const int *tokens, __global const float *table, "
        "__global float *x",
        "sym, tokens, table, x",
        "(SEQ * D)",
        "typedef struct { int row, d; } place;\n"
        "place at(int i) { const place p = {i / D, i % D}; return p; }",
        "const place p = at(i); x[i] = table[max(tokens[p.row], 0) * D + p.d];",
    ),
    "remember": (
        "__global const int *sym, __global const float *x, __global float *state",
        "sym, x, state",
        "(SEQ * D)",
        "int at(int i, int past) { return past * D + i; }",
        "state[at(i, PAST)] = x[i];",
    ),
    "recall": (
        "__global const int *sym, __global const float *state, __global float *y",
        "sym, state, y",
        "(SEQ * D)",
        "#define TERM(j) (state[(j) * D + d] * mix((j), p))\n"
        "enum { THREE = 3, place };\n"
        "float mix(int j, int p) { return (p * THREE + j * 5) % 7 - 3; }",
        "const int p = PAST + i / D, d = i % D; float sum = 0;"
        "for (int j = 0; j <= p; j++) sum += TERM(j); y[i] = sum;",
    ),
    "logits": (
        "__global const int *sym, __global const float *y, __global const float *head, "
        "__global float *out",
        "sym, y, head, out",
        "(ROWS * V)",
        "#define TERM(d) (y[(SEQ - ROWS + i / V) * D + (d)] * head[(d) * V + i % V])",
        "float sum = 0; for (int d = 0; d < D; d++) sum += TERM(d); out[i] = sum;",
    ),
    "pick": (
        "__global int *sym, __global const float *out, __global int *tokens, __global int *ids",
        "sym, out, tokens, ids",
        "1",
        "__constant float lowest = -INFINITY;",
        "int best = -1; float most = lowest;"
        "for (int v = 0; v < V; v++) { const float x = out[(ROWS - 1) * V + v];"
        " if (x > most) { most = x; best = v; } }"
        "if (isinf(most)) best = -1; tokens[0] = best; ids[PAST + SEQ] = best; sym[1] += SEQ;",
    ),
    "twist": (
        "__global const int *sym, __global const float *state, __global float *y",
        "sym, state, y",
        "D",
        "float at(float v) { return v * 0.5f; }",
        "y[i] = at(y[i]) + mix(state[i], 1.0f, 0.25f);",
    ),
}


def source(name: str) -> str:
    """The text of one kernel."""
    params, args, items, helpers, work = PARTS[name]
    macros = f"#define PARAMS {params}\n#define ARGS {args}\n#define ITEMS {items}\n"
    return macros + SHARE + helpers + KERNEL.format(name=name, work=work)


def together(toy: Toy, **changes: str) -> Toy:
    """The toy with bodies; `changes` are texts of kernels that take the place of ours."""
    own = {name: source(name) for name in toy.sources if name in PARTS}  # others have a body
    toy.sources |= own | changes
    for phase in toy.plan["phases"]:
        for step in phase["steps"]:
            for variant in step.get("variants", ()):
                variant["global"] = [4]
    toy.save()
    return toy


def with_twist(toy: Toy) -> Toy:
    """A dispatch more in decode, without work-items before position 8."""
    toy.sources["twist"] = source("twist")
    toy.plan["programs"].append(
        {"source": "kernels/twist.cl", "kernel": "twist", "defines": HEADER}
    )
    steps = toy.plan["phases"][1]["steps"]
    variant = {"program": len(toy.plan["programs"]) - 1, "local": [1], "requires": []}
    size: list[Any] = ["past", 8, "//", 1, "min", 4, "*"]
    steps.insert(3, steps[2] | {"name": "toy.twist", "variants": [variant | {"global": [size]}]})
    toy.save()
    return toy


def add_steps(toy: Toy) -> Toy:
    """Give the phase decode its step kernel."""
    plan = load_plan(toy.folder, note=lambda _: None)
    texts = {f"kernels/{name}.cl": text for name, text in toy.sources.items()}
    phase = plan.phase("decode")
    assert phase is not None
    toy.sources["decode.steps"] = compose(plan, phase, texts)
    steps = {"source": "kernels/decode.steps.cl", "kernel": "steps", "defines": []}
    toy.plan["phases"][1]["cooperative"] = {"program": len(toy.plan["programs"])}
    toy.plan["programs"].append(steps)
    toy.save()
    assert dataclasses.asdict(load_plan(toy.folder, note=lambda _: None))
    return toy
