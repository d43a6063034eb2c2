"""The kernels of a plan as one text, so that they are compiled as one program.

A compiler's start takes far longer than a small kernel does: what many small graphs need is
compiled in seconds. Names that each text defines get its number; its macros end with it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from opencl_kernels import source_text
from opencl_kernels.launch import program_text
from toolkit.plan.schema import Plan, Program

NAME = "kernels/all.cl"
MACRO = re.compile(r"#define (\w+)")
FUNCTION = re.compile(r"^[\w ]*?\b(?!__)(\w+)\([^;#]*?\) \{", re.M)
PASTED = re.compile(r"^(?!#)(?:\w+ )+JOIN\(\w+, \w+\)\(", re.M)
TYPE = re.compile(r"^\} (\w+);", re.M)


def as_one(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan with its programs in one file, and the texts of its kernels.

    Those that make names of functions by pasting stay alone, as do those that few devices build.
    """
    joined, programs, kernels = list[str](), list[Program](), dict[str, str]()
    dispatches = (each for phase in plan.phases for each in phase.dispatches())
    choosy = {v.program for each in dispatches for v in each.variants if v.requires}
    for number, program in enumerate(plan.programs):
        text = source_text(Path(program.source).name)
        if number in choosy or PASTED.search(text):
            programs.append(program)
            kernels[program.source] = text
        else:
            joined.append(_apart(program, text, number))
            name = f"{program.kernel}_{number}"
            programs.append(replace(program, source=NAME, kernel=name, defines=()))
    return replace(plan, programs=tuple(programs)), {**kernels, NAME: "".join(joined)}


def _apart(program: Program, text: str, number: int) -> str:
    text = program_text(text, dict(program.defines))
    own = {program.kernel, *FUNCTION.findall(text), *TYPE.findall(text)}
    renamed = "".join(f"#define {name} {name}_{number}\n" for name in sorted(own))
    macros = sorted(own | set(MACRO.findall(text)))
    return f"{renamed}{text}\n" + "".join(f"#undef {name}\n" for name in macros)
