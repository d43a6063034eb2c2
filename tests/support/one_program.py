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
FUNCTION = re.compile(r"^[\w ]*?\b(?!__)(\w+)\([^;]*?\) \{", re.M)
TYPE = re.compile(r"^\} (\w+);", re.M)


def as_one(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan with all of its programs in one file, and the text of that."""
    texts, programs = list[str](), list[Program]()
    for number, program in enumerate(plan.programs):
        texts.append(_apart(program, number))
        name = f"{program.kernel}_{number}"
        programs.append(replace(program, source=NAME, kernel=name, defines=()))
    return replace(plan, programs=tuple(programs)), {NAME: "".join(texts)}


def _apart(program: Program, number: int) -> str:
    text = program_text(source_text(Path(program.source).name), dict(program.defines))
    own = {program.kernel, *FUNCTION.findall(text), *TYPE.findall(text)}
    renamed = "".join(f"#define {name} {name}_{number}\n" for name in sorted(own))
    macros = sorted(own | set(MACRO.findall(text)))
    return f"{renamed}{text}\n" + "".join(f"#undef {name}\n" for name in macros)
