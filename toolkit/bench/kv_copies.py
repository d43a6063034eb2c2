"""How much of the KV cache a phase copies: nothing if every kernel updates states in place."""

from opencl_kernels import KERNELS, family_of
from toolkit.plan.schema import Dispatch, HostStep, Phase, Plan


def kv_copy_bytes(plan: Plan, phase: Phase) -> int:
    """Bytes of KV cache that a phase's steps copy, besides K and V of the new tokens.

    A step that takes a state either updates it in place, or counts as a copy of all its bytes.
    """
    moved = 0
    for step in phase.steps:
        if isinstance(step, HostStep):
            moved += _state_bytes(plan, [step.buffer])
        elif isinstance(step, Dispatch) and not _keeps_states(plan, step):
            moved += _state_bytes(plan, [int(a[-1]) for a in step.args if a[0] == "buffer"])
    return moved


def _keeps_states(plan: Plan, step: Dispatch) -> bool:
    kernel = plan.programs[step.variants[0].program].kernel
    return kernel in KERNELS and family_of(kernel).keeps_states


def _state_bytes(plan: Plan, buffers: list[int]) -> int:
    return sum(plan.buffers[i].bytes for i in buffers if plan.buffers[i].kind == "state")
