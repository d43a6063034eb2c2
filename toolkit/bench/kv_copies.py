"""How much of the KV cache a phase copies: nothing if every kernel updates states in place."""

from collections.abc import Sequence

from opencl_kernels import KERNELS, family_of
from toolkit.plan.schema import Dispatch, Phase, Plan, Ref, Step, refs_of


def kv_copy_bytes(plan: Plan, phase: Phase) -> int:
    """Bytes of KV cache that a phase's steps copy, besides K and V of the new tokens.

    A step that takes a state either updates it in place, or counts as a copy of all its bytes.
    """
    moved = 0
    for step in phase.steps:
        if not _keeps_states(plan, step):
            moved += _state_bytes(plan, list(refs_of(step)))
    return moved


def _keeps_states(plan: Plan, step: Step) -> bool:
    if not isinstance(step, Dispatch):
        return False
    kernel = plan.programs[step.variants[0].program].kernel
    return kernel in KERNELS and family_of(kernel).keeps_states


def _state_bytes(plan: Plan, args: Sequence[Ref]) -> int:
    buffers = (plan.buffers[int(ref[-1])] for ref in args if ref[0] == "buffer")
    return sum(buffer.bytes for buffer in buffers if buffer.kind == "state")
