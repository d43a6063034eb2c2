"""A plan with other knobs: what can be tuned in it, and the plan folder of a candidate."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from opencl_kernels import source_text
from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import usual_knobs, values_of
from toolkit.compiler.lowering.kernel_case import KernelCase, Site, kernel_case_of
from toolkit.compiler.lowering.variants import Programs
from toolkit.devices.profiles import LOCAL_MEMORY
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.paths import PLAN_FILE
from toolkit.plan.phase_choice import PhaseChoice, names_of
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Dispatch, FileEntry, Phase, Plan, Variant, with_dispatches
from toolkit.plan.text import to_json

Choice: TypeAlias = Mapping[Site, Knobs]


def local_memory(plan: Plan) -> int:
    """Bytes per work-group of the device that the plan was compiled for."""
    return int(plan.profile.get("local_memory", LOCAL_MEMORY))


def timed_phases(plan: Plan) -> list[Phase]:
    """The phases whose kernels are timed: those that generate text, in the order of the plan."""
    names = names_of(PhaseChoice(plan).giving("ids"))
    return [phase for phase in plan.phases if phase.name in names]


def tunable(plan: Plan, names: Sequence[str] = ()) -> dict[Site, KernelCase]:
    """What can be tuned in a plan: the preferred variant of every dispatch.

    names  only these kernels; default: all
    """
    found = dict(_tunable(plan))
    if not found:
        because = "it does not record the shapes that its kernels were made for"
        raise PocketError("this plan cannot be tuned", because, RECOMPILE)
    known = {name for name, _ in found}
    for name in names:
        if name not in known:
            hint = "list its kernels with pocketcl inspect PLAN"
            raise unknown(f"the plan has no kernel '{name}' with knobs", name, sorted(known), hint)
    return {site: found[site] for site in found if not names or site[0] in names}


def _tunable(plan: Plan) -> Iterator[tuple[Site, KernelCase]]:
    kind = str(plan.profile["class"])
    cases = [kernel_case_of(each) for each in plan.programs]
    for phase in timed_phases(plan):
        for dispatch in phase.dispatches():
            each = cases[dispatch.variants[0].program]
            if each is None or len(each.family.arguments(each.case)) != _inputs(dispatch):
                continue
            if usual_knobs(each.kernel, each.case, kind, local_memory(plan)) is None:
                continue  # the plan was compiled by another version, or edited
            if any(values_of(each.kernel, name, kind)[1:] for name in each.kernel.knobs):
                yield each.site, each


def defaults(kernel_cases: Mapping[Site, KernelCase], plan: Plan) -> dict[Site, dict[str, int]]:
    """The default knobs of every site whose defaults fit into local memory."""
    kind, room = str(plan.profile["class"]), local_memory(plan)
    usual = {s: usual_knobs(each.kernel, each.case, kind, room) for s, each in kernel_cases.items()}
    return {site: knobs for site, knobs in usual.items() if knobs is not None}


def with_knobs(plan: Plan, choice: Choice) -> Plan:
    """The plan with these knobs; sites without knobs in `choice` stay as they are."""
    programs = Programs()
    cases = [kernel_case_of(program) for program in plan.programs]

    def changed(variant: Variant) -> Variant:
        each = cases[variant.program]
        if each is None or each.site not in choice:
            return replace(variant, program=programs.add(plan.programs[variant.program]))
        return each.variant(choice[each.site], plan.symbols, programs)

    phases = tuple(_phase(phase, changed) for phase in plan.phases)
    return replace(plan, programs=tuple(programs.index), phases=phases)


def write_candidate(folder: Path, plan_path: Path, plan: Plan) -> None:
    """Write the folder of `plan`: kernels of this version, links to everything else."""
    texts = {p.source: source_text(Path(p.source).name) for p in plan.programs}
    others = [entry for entry in plan.files if not entry.path.startswith("kernels/")]
    (folder / "kernels").mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for entry in others:
        (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink((plan_path / entry.path).absolute(), folder / entry.path)
    entries = [_entry(name, text.encode()) for name, text in sorted(texts.items())]
    complete = replace(plan, files=(*others, *entries))
    (folder / PLAN_FILE).write_text(to_json(complete), encoding="utf-8")


def _entry(name: str, content: bytes) -> FileEntry:
    return FileEntry(name, len(content), hashlib.sha256(content).hexdigest())


def _phase(phase: Phase, changed: Callable[[Variant], Variant]) -> Phase:
    def tuned(dispatch: Dispatch) -> Dispatch:
        return replace(dispatch, variants=tuple(map(changed, dispatch.variants)))

    steps = tuple(with_dispatches(step, tuned) for step in phase.steps)
    return replace(phase, steps=steps, cooperative=None)  # its program has the old knobs


def _inputs(dispatch: Dispatch) -> int:
    return len(dispatch.args) - 1  # the symbols are no input
