"""What a plan holds on a device when it is made for contexts of other lengths, and what fits."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.devices.profiles import profiles
from toolkit.plan.arena import round_up
from toolkit.plan.schema import WEIGHT_ALIGN, Plan, Weight
from toolkit.plan.table_figures import table_memory
from toolkit.tables import size

TABLE = "rows"  # layout of a table that is indexed by position, as the rotary angles are
SYMBOL_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of a loaded plan, by what they are for."""

    weights: int
    kv: int
    arena: int
    buffers: int  # inputs and outputs
    symbols: int
    largest: int  # of what is allocated at once
    records: int = 0  # of tables: their slots, and what reads of others take

    @property
    def total(self) -> int:
        """All that lies on the device."""
        lying = self.weights + self.kv + self.arena + self.buffers + self.symbols
        return lying + self.records

    def as_json(self) -> dict[str, int]:
        """By name, with the total."""
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True)
class Room:
    """What a device gives; None where nothing tells it."""

    memory: int | None
    buffer: int | None  # at once
    source: str = ""

    def holds(self, memory: Memory) -> bool | None:
        """Whether a plan fits; None where that is not known."""
        if self.buffer is not None and memory.largest > self.buffer:
            return False
        return None if self.memory is None else memory.total <= self.memory


def memory_at(plan: Plan, context: int) -> Memory:
    """Of the same model compiled for another context; exact for the plan's own."""
    states = [_state_bytes(plan, index, context) for index in range(len(plan.states))]
    others = [b.bytes for b in plan.buffers if b.kind != "state"]
    arena = max((phase.arena_bytes for phase in plan.phases), default=0)
    scaled = [_weight_bytes(plan, weight, context) for weight in plan.weights]
    shards = _shards(plan.weights)
    tables = table_memory(plan, plan.points[-1]) if plan.tables else {}
    return Memory(
        weights=sum(scaled),
        kv=sum(states),
        arena=arena,
        buffers=sum(others),
        symbols=SYMBOL_BYTES * plan.slots,
        largest=max([*shards, *states, *others, *_slots(plan), arena], default=0),
        records=sum(tables.values()),
    )


def longest_context(plan: Plan, room: Room, limit: int) -> int | None:
    """The longest context of at most `limit` tokens that fits, 0 for none; None: not known."""
    if room.holds(memory_at(plan, limit)) is not False:
        return None if room.memory is None else limit
    low, high = 0, limit  # one fits or is none, the other does not fit
    while high - low > 1:
        middle = (low + high) // 2
        fits = room.holds(memory_at(plan, middle)) is not False
        low, high = (middle, high) if fits else (low, middle)
    return low


def complaint_of(plan: Plan) -> str:
    """`complaint` by the profile that the plan was compiled for."""
    name = str(plan.profile["name"])
    return complaint(plan, {**profiles().get(name, {}), **plan.profile})


def complaint(plan: Plan, facts: Mapping[str, Any]) -> str:
    """What a compile says of a plan that its device cannot hold; "" if it can or nobody knows.

    facts  the profile of the device
    """
    context, room = int(plan.model["max_context"]), room_of(facts)
    own = memory_at(plan, context)
    if room.holds(own) is not False:
        return ""
    longest = longest_context(plan, room, context)
    cure = f"--max-context {longest} fits" if longest else "no context fits"
    given = "a buffer of " + size(room.buffer or 0)
    taken = "a buffer of " + size(own.largest)
    if room.memory is not None and own.total > room.memory:
        given, taken = size(room.memory), size(own.total)
    return (
        f"the plan takes {taken} with {context} tokens, {facts['name']} is known to give {given}:"
        f" {cure}; other phones may give more (pocketcl estimate PLAN --memory 6GiB)"
    )


def room_of(facts: Mapping[str, Any], memory: int | None = None) -> Room:
    """What a profile says of a device's memory; `memory`: what its user says."""
    known, buffer = (_bytes(facts.get(key)) for key in ("opencl_memory", "max_alloc"))
    source = f"profile {facts['name']}" if memory is None else "--memory"
    return Room(known if memory is None else memory, buffer, source)


def _bytes(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _state_bytes(plan: Plan, index: int, context: int) -> int:
    """A state that grows with the text holds up to its context; a window holds no more."""
    state = plan.states[index]
    nbytes, own = plan.buffers[state.buffer].bytes, int(plan.model["max_context"])
    if state.axis is None or not state.capacity:
        return nbytes
    kept = context if state.capacity >= own else min(context, state.capacity)
    return math.ceil(nbytes * kept / state.capacity)


def _weight_bytes(plan: Plan, weight: Weight, context: int) -> int:
    own = int(plan.model["max_context"])
    is_table = weight.layout == TABLE and len(weight.shape) > 1 and weight.shape[0] == own
    return weight.bytes * context // own if is_table else weight.bytes


def _slots(plan: Plan) -> list[int]:
    """Of each table."""
    if not plan.tables:
        return []
    counts = plan.points[-1].slots
    return [n * table.bytes for n, table in zip(counts, plan.tables, strict=True)]


def _shards(weights: tuple[Weight, ...]) -> list[int]:
    ends: dict[int, int] = {}
    for weight in weights:
        end = round_up(weight.offset + weight.bytes, WEIGHT_ALIGN)
        ends[weight.file] = max(ends.get(weight.file, 0), end)
    return list(ends.values())
