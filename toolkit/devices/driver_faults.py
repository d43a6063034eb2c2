"""Known faults of drivers: which of them concern one, and what is not used because of them.

They stand in devices.yaml. A plan carries those that concern its own kernels, so that a phone,
where no devices.yaml is, passes over them as well (android_runner/build/driver_faults.cpp).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.plan.schema import DriverFault, Plan


@dataclass(frozen=True)
class KnownFault:
    """A line under `drivers` in devices.yaml: a fault of compilers, or of GPUs by their name."""

    fault: DriverFault  # of no compiler where it is of a GPU
    gpu: str = ""  # a part of the GPU's name; empty: any that has the compiler
    avoided: str = ""  # why no kernel of ours meets it

    def concerns(self, gpu: str, driver: str) -> bool:
        """Whether the driver of a GPU has the fault; `gpu` and `driver` as OpenCL reports them."""
        if self.gpu.lower() not in gpu.lower():
            return False
        return not self.fault.compiler or concerns(self.fault, driver)

    def note(self) -> str:
        """For people: the fault, and what is done about it."""
        if self.avoided:
            return f"{self.fault.fault}; avoided: {self.avoided}"
        if self.fault.without:
            return f"{self.fault.fault}; not used there: {', '.join(self.fault.without)}"
        return self.fault.fault


def known_fault(line: Mapping[str, Any]) -> KnownFault:
    """A fault as devices.yaml has it."""
    fault = DriverFault(
        compiler=line.get("compiler", ""),
        fault=f"{line['fault']} ({line['source'].removeprefix('S ')})",
        without=tuple(line.get("without", ())),
        since=line.get("from", ""),
        before=line.get("before", ""),
    )
    return KnownFault(fault, line.get("gpu", ""), line.get("avoided", ""))


def concerns(fault: DriverFault, driver: str) -> bool:
    """Whether a driver has the fault, by the version of its compiler.

    driver  CL_DRIVER_VERSION
    """
    hit = re.search(rf"Compiler {re.escape(fault.compiler)}\.(\d+(?:\.\d+)*)", driver)
    if hit is None:
        return False
    version = _numbers(hit[1])
    return _numbers(fault.since) <= version and (
        not fault.before or version < _numbers(fault.before)
    )


def faults_met_by(plan: Plan, faults: Sequence[KnownFault]) -> Iterator[DriverFault]:
    """Those because of which a variant of the plan is passed over on some drivers."""
    steps = [step for phase in plan.phases for step in phase.dispatches()]
    needed = {name for step in steps for v in step.variants for name in plan.needs(v)}
    for known in faults:
        if met := tuple(name for name in known.fault.without if name in needed):
            yield replace(known.fault, without=met)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))
