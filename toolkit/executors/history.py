"""Which ids the states of a plan hold, and how far back they can be rewound."""

from toolkit.errors import PocketError
from toolkit.plan.schema import Plan


def holds(plan: Plan, reached: int, past: int) -> bool:
    """Whether the states still hold what position `past` looks back on.

    A ring has slots for its window and one chunk: filled up to `reached`, it has the window of each
    of the last `prefill_chunk` positions. What lies further back is overwritten.
    """
    context, chunk = int(plan.model["max_context"]), int(plan.model["prefill_chunk"])
    sizes = [int(b.shape[-2]) for b in plan.buffers if b.update == "append" and len(b.shape) > 1]
    ring = min((size for size in sizes if size < context), default=context)
    return past == 0 or reached <= ring or reached - past <= chunk


def advanced(reached: int, past: int, count: int) -> int:
    """`reached` when `count` ids were fed at `past`; a text that starts anew forgets the old."""
    return count if past == 0 else max(reached, past + count)


def check_held(ids: list[int], past: int) -> list[int]:
    """The first `past` of the ids that the states hold."""
    if not 0 <= past <= len(ids):
        raise PocketError(
            f"there are no {past} positions",
            f"the states hold a text of {len(ids)} tokens",
            "what was fed can be saved, and no more",
        )
    return ids[:past]
