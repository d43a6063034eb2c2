"""A decode step as one kernel: the bodies of all its kernels, run by persistent work-groups.

On a CPU a dispatch that needs every core wakes a sleeping worker each time (20–47 µs on PoCL); a
barrier that work-groups spin at costs 0.2 µs. So the phase gets one more program, a text in which
each kernel of its dispatch list is a function `NAME_body(id, n, arguments…)`, and a kernel
`steps` that calls them in the order of a table. The dispatch list stays in the plan: an executor
may run either.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from opencl_kernels.device_class import CLASSES
from toolkit.compiler.c_preprocessor import Preprocessor, declared
from toolkit.errors import PocketError
from toolkit.plan.schema import Cooperative, Dispatch, Phase, Plan, Program

WRAPPER = re.compile(r"^__kernel\b[^{;]*\{(?:[^\n]*\}[ \t]*$|.*?^\})\n?", re.M | re.S)
DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.M)
ALONE = re.compile(  # only valid in a kernel that is launched by itself
    r"get_(global|local|group|num|work)_\w+|(work_group_)?barrier|__local|local|__kernel|kernel"
)
HEAD = """\
// The steps of {phase}, all in one launch: made by the compiler from the kernels beside this file.
//
// Each kernel stands here as it does in its own file, less its __kernel function, with a suffix to
// its names: the number that its program has in plan.json. `steps` is at the end.
"""
STEPS = """
// --- steps -------------------------------------------------------------------------------------
//
// `ops` holds `count` records, {{program, words of this record, address of each argument}}. All
// work-groups do their share of an op, then meet. `meeting` is zero before a launch and after it;
// its two counters lie in cache lines of their own.
#define ARG(i) ((__global void *)op[2 + (i)])
#define LEFT 32
#define SPINS 400                        // some 20 µs; who waits longer lets others have the core

// The other work-group may wait for this very core: where somebody else computes on the second one,
// the system puts both on the first, and each meeting would take a time slice. Kernels can call no
// function of the system, PoCL links none; so sched_yield is called by its number.
#if defined(__linux__) && defined(__x86_64__)
void let_others() {{
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(24L) : "rcx", "r11", "memory");
}}
#elif defined(__linux__) && defined(__aarch64__)
void let_others() {{
  __asm__ volatile("mov x8, #124; svc #0" ::: "x0", "x8", "memory");
}}
#else
void let_others() {{}}
#endif
#if defined(__x86_64__)
#define RELAX __builtin_ia32_pause();
#elif defined(__aarch64__)
#define RELAX __asm__ volatile("yield");
#else
#define RELAX
#endif

void meet(volatile __global int *meeting, int goal) {{
  mem_fence(CLK_GLOBAL_MEM_FENCE);
  atomic_inc(meeting);
  for (int spins = 0; *meeting < goal; spins++) {{
    if (spins >= SPINS) let_others();
    RELAX
  }}
  mem_fence(CLK_GLOBAL_MEM_FENCE);
}}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void steps(__global const ulong *ops, int count, volatile __global int *meeting) {{
  const int id = get_group_id(0), n = get_num_groups(0);
  __global const ulong *op = ops;
  for (int i = 1; i <= count; i++, op += op[1]) {{
    switch ((int)op[0]) {{
{cases}
    }}
    if (n > 1) meet(meeting, i * n);
  }}
  if (atomic_inc(meeting + LEFT) == n - 1) meeting[0] = meeting[LEFT] = 0;
}}

// For the executor: what goes into the table, and whether work-groups can wait for each other.
__kernel void address(__global const uchar *what, __global ulong *found, int i) {{
  found[i] = (ulong)what;
}}

__kernel void side_by_side(volatile __global int *arrived, __global int *met, int patience) {{
  atomic_inc(arrived);
  while (*arrived < (int)get_num_groups(0) && patience > 0) patience--;
  met[get_group_id(0)] = patience > 0;
}}
"""


def with_steps(plan: Plan, kernels: Mapping[str, str]) -> tuple[Plan, dict[str, str], str]:
    """The plan with a program for its whole recordable phase, the texts of all programs, and "".

    If there can be no such program, the plan and `kernels` unchanged, and the reason.

    kernels  path in the plan -> text
    """
    phase = next((phase for phase in plan.phases if phase.recordable), None)
    kind = CLASSES.get(str(plan.profile.get("class")))
    if kind is None or not kind.cooperative or phase is None or plan.model.get("batch", 1) != 1:
        return plan, dict(kernels), "only decode of one text on a CPU runs as one launch"
    try:
        text, options = compose(plan, phase, kernels), _options(plan, phase)
    except PocketError as error:
        return plan, dict(kernels), f"{error.what}: {error.because}"
    source = f"kernels/{phase.name}.steps.cl"
    programs = (*plan.programs, Program(source, "steps", (), options=options))
    changed = replace(phase, cooperative=Cooperative(len(plan.programs)))
    phases = tuple(changed if p is phase else p for p in plan.phases)
    return replace(plan, programs=programs, phases=phases), {**kernels, source: text}, ""


def compose(plan: Plan, phase: Phase, kernels: Mapping[str, str]) -> str:
    """The text of the phase's `steps` kernel; raises if a kernel has no body to call."""
    counts = {step.variants[0].program: len(step.args) for step in _dispatches(phase)}
    text = HEAD.format(phase=phase.name)
    cases: list[str] = []
    for number, count in sorted(counts.items()):
        program = plan.programs[number]
        text += "\n" + "\n".join(_renamed(number, program, kernels[program.source])) + "\n"
        arguments = ", ".join(["id", "n", *(f"ARG({i})" for i in range(count))])
        call = f"{program.kernel}_body__{number}({arguments})"
        cases.append(f"      case {number}: {call}; break;")
    return text + STEPS.format(cases="\n".join(cases))


def _options(plan: Plan, phase: Phase) -> tuple[str, ...]:
    """How all programs of the phase are built; raises where they differ, for one text has one."""
    programs = [plan.programs[step.variants[0].program] for step in _dispatches(phase)]
    for program in programs:
        if program.options != programs[0].options:
            raise PocketError(program.kernel, "it is built with other options than the rest")
    return programs[0].options if programs else ()


def _dispatches(phase: Phase) -> Iterator[Dispatch]:
    for step in phase.dispatches():
        if step.queue != 0 or any(size != 1 for size in step.variants[0].local_size):
            because = "it is no dispatch of single work-items on the first queue"
            raise PocketError(step.name, because)
        yield step


def _renamed(number: int, program: Program, text: str) -> Iterator[str]:
    """One program's lines, each name with the suffix __NUMBER, and no macro left defined."""
    header = "".join(f"#define {key} {value}\n" for key, value in program.defines)
    text = WRAPPER.sub("", text)
    tokens = Preprocessor().tokens(header + text)
    names = dict.fromkeys(declared(tokens))
    where = f"{program.kernel} ({program.source})"
    if f"{program.kernel}_body" not in names:
        because = f"it has no function {program.kernel}_body(id, n, …)"
        raise PocketError(where, because)
    alone = next(filter(ALONE.fullmatch, tokens), None)
    if alone:
        because = f"{alone} is used outside of its __kernel function"
        raise PocketError(where, because)
    yield f"// --- {number}: {program.kernel} ".ljust(98, "-")
    yield header.rstrip()
    for name in names:  # OpenCL may define a macro of this name
        yield f'#pragma push_macro("{name}")\n#undef {name}\n#define {name} {name}__{number}'
    yield text.rstrip()
    yield from (f"#undef {name}" for name in dict.fromkeys(DEFINED.findall(header + text)))
    yield from (f'#pragma pop_macro("{name}")' for name in names)
