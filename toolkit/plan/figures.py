"""What a plan costs by its steps alone: launches, bytes kept, bytes of KV cache copied."""

from toolkit.plan.schema import Dispatch, HostStep, Phase, Plan

# Kernels that take a state without moving it: they write the new token's K and V, or only read.
IN_PLACE = ("rope_kv", "attention_prefill", "attention_decode", "attention_parts")


def dispatches(plan: Plan) -> dict[str, int]:
    """Kernel launches of each phase."""
    return {phase.name: len(phase.dispatches()) for phase in plan.phases}


def kv_copy_bytes(plan: Plan, phase: Phase) -> int:
    """Bytes of KV cache that a phase's steps move beyond the new tokens' own K and V.

    A step that takes a state is either one of IN_PLACE or counts with all the state's bytes.
    """
    moved = 0
    for step in phase.steps:
        if isinstance(step, HostStep):
            moved += _state_bytes(plan, [step.buffer])
        elif isinstance(step, Dispatch):
            kernel = plan.programs[step.variants[0].program].kernel.removesuffix("_cpu")
            if kernel not in IN_PLACE:
                moved += _state_bytes(plan, [int(a[-1]) for a in step.args if a[0] == "buffer"])
    return moved


def weight_bytes(plan: Plan) -> int:
    """Bytes of all packed weights."""
    return sum(weight.bytes for weight in plan.weights)


def _state_bytes(plan: Plan, buffers: list[int]) -> int:
    return sum(plan.buffers[i].bytes for i in buffers if plan.buffers[i].kind == "state")


def memory(plan: Plan) -> dict[str, int]:
    """Bytes that a loaded plan holds on the device, by what they are for."""
    states = [buffer.bytes for buffer in plan.buffers if buffer.kind == "state"]
    others = [buffer.bytes for buffer in plan.buffers if buffer.kind != "state"]
    return {
        "weights": weight_bytes(plan),
        "states": sum(states),
        "buffers": sum(others),
        "arena": max((phase.arena_bytes for phase in plan.phases), default=0),
    }
