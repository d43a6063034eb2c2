"""What a program of a plan was made from: its kernel, and the sizes and storage that it computes.

No executor needs it; tuning makes the program again with other knobs, an estimate counts its work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opencl_kernels import KERNELS, Family, Kernel, family_of
from opencl_kernels.case import Case, Slots
from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import shape_key
from toolkit.compiler.lowering.variants import Programs, variant_of
from toolkit.errors import PocketError
from toolkit.plan.reader import decode
from toolkit.plan.schema import Program, Variant

Site: TypeAlias = tuple[str, str]  # (kernel, shape), which has one set of knobs


@dataclass(frozen=True)
class KernelCase:
    """A kernel on a case, as a program of the plan runs it."""

    family: Family
    kernel: Kernel
    case: Case

    @property
    def site(self) -> Site:
        """Its key in tables of knobs."""
        return self.kernel.name, shape_key(self.case)

    def variant(self, knobs: Knobs, symbols: Sequence[Slots], programs: Programs) -> Variant:
        """The variant of a dispatch that runs it with these knobs."""
        return variant_of(self.kernel, self.case, knobs, symbols, programs)


def kernel_case_of(program: Program) -> KernelCase | None:
    """What a program was made from; None if the plan or this version doesn't know it."""
    kernel = KERNELS.get(program.kernel)
    if kernel is None or program.case is None:
        return None
    family = family_of(program.kernel)
    try:
        case: Case = decode(family.case, program.case, "case")
    except (PocketError, ValueError):  # an edited case
        return None
    return KernelCase(family, kernel, case) if kernel.supports(case) is None else None
