"""The same plan with other knobs: what can be tuned in it, and the folder that a trial runs."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from opencl_kernels import KERNELS, Kernel
from opencl_kernels.kernel import Case, Knobs, source_text
from opencl_kernels.tuned import shape_key, usual_knobs, values_of
from toolkit.compiler.lowering.builder import Programs, variant_of
from toolkit.devices.profiles import LOCAL_MEMORY
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.paths import PLAN_FILE
from toolkit.plan.expr import from_rpn
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Dispatch, FileEntry, Phase, Plan, Program, Step, Variant, to_json

PHASES = ("prefill", "decode")  # whose kernels are timed
Spot: TypeAlias = tuple[str, str]  # kernel, shape: what has knobs of its own
Choice: TypeAlias = Mapping[Spot, Knobs]


@dataclass(frozen=True)
class Product:
    """A kernel on a case, as some program of the plan runs it."""

    kernel: Kernel
    case: Case

    @property
    def spot(self) -> Spot:
        """Its line in the table."""
        return self.kernel.name, shape_key(self.case)

    def variant(self, knobs: Knobs, batch: int, programs: Programs) -> Variant:
        """How a dispatch runs it with these knobs."""
        return variant_of(self.kernel, self.case, knobs, batch, programs)


def product_of(program: Program) -> Product | None:
    """What a program was made from; None where the plan, or this version, doesn't know."""
    kernel = KERNELS.get(program.kernel)
    if kernel is None or program.case is None:
        return None
    try:
        case = {k: from_rpn(v) if isinstance(v, list) else v for k, v in program.case.items()}
        found = Product(kernel, case)
        found.variant({n: values[0] for n, values in kernel.knobs.items()}, 1, Programs())
    except (PocketError, LookupError, ArithmeticError, TypeError, ValueError, AttributeError):
        return None  # an edited case
    return found


def local_memory(plan: Plan) -> int:
    """Bytes that a work-group may take on the device that the plan was compiled for."""
    return int(plan.profile.get("local_memory", LOCAL_MEMORY))


def tunable(plan: Plan, names: Sequence[str] = ()) -> dict[Spot, Product]:
    """What can be tuned in a plan: of every dispatch the variant that its device prefers.

    names  of kernels, where only these are wanted
    """
    kind, found = str(plan.profile["class"]), dict[Spot, Product]()
    products = [product_of(program) for program in plan.programs]
    for phase in plan.phases:
        for dispatch in phase.dispatches() if phase.name in PHASES else ():
            product = products[dispatch.variants[0].program]
            if product is None or len(product.kernel.arguments(product.case)) != _inputs(dispatch):
                continue
            if usual_knobs(product.kernel, product.case, kind, local_memory(plan)) is None:
                continue  # the plan was compiled by another version, or edited
            if any(values_of(product.kernel, name, kind)[1:] for name in product.kernel.knobs):
                found.setdefault(product.spot, product)
    if not found:
        because = "it does not say which shapes its kernels were made for"
        raise PocketError("this plan cannot be tuned", because, RECOMPILE)
    known = {name for name, _ in found}
    for name in names:
        if name not in known:
            hint = "pocketcl inspect PLAN shows its kernels"
            raise unknown(f"the plan has no kernel '{name}' with knobs", name, sorted(known), hint)
    return {spot: found[spot] for spot in found if not names or spot[0] in names}


def defaults(products: Mapping[Spot, Product], plan: Plan) -> dict[Spot, dict[str, int]]:
    """Every spot at its defaults, as far as these find room."""
    kind, room = str(plan.profile["class"]), local_memory(plan)
    usual = {s: usual_knobs(each.kernel, each.case, kind, room) for s, each in products.items()}
    return {spot: knobs for spot, knobs in usual.items() if knobs is not None}


def with_knobs(plan: Plan, choice: Choice) -> Plan:
    """The plan with these knobs; what has none in `choice` stays as it is."""
    programs, batch = Programs(), int(plan.model["batch"])
    products = [product_of(program) for program in plan.programs]

    def redone(variant: Variant) -> Variant:
        product = products[variant.program]
        if product is None or product.spot not in choice:
            return replace(variant, program=programs.add(plan.programs[variant.program]))
        new = product.variant(choice[product.spot], batch, programs)
        return replace(new, requires=variant.requires)

    phases = tuple(_phase(phase, redone) for phase in plan.phases)
    return replace(plan, programs=tuple(programs.index), phases=phases)


def write_trial(folder: Path, plan_path: Path, plan: Plan) -> None:
    """A plan folder for `plan`: kernels of this version, everything else linked."""
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


def _phase(phase: Phase, redone: Any) -> Phase:
    steps: list[Step] = [
        replace(s, variants=tuple(map(redone, s.variants))) if isinstance(s, Dispatch) else s
        for s in phase.steps
    ]
    return replace(phase, steps=tuple(steps), cooperative=None)  # that program has other knobs


def _inputs(dispatch: Dispatch) -> int:
    return len(dispatch.args) - 1  # less the symbols
