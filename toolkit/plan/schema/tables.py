"""Weights that stay in flash: tables of records, and how much of each a run keeps in memory.

Files of tables are never mapped. What a record holds is said by opencl_kernels/records/record.py.
"""

from dataclasses import dataclass, field

PAGE = 4096  # bytes: a flash reads whole ones
SLOT_ALIGN = 64  # bytes: of records
ENGINES = ("device", "threads", "both")
POLICIES = ("static", "lru", "lfu", "window", "importance")
MOST_WINDOW = 4096  # steps
LEAST_TILES, MOST_TILES = 2, 64  # one is read while the other is computed


@dataclass(frozen=True)
class Part:
    """Bytes `offset` … `offset + bytes` of each record: `length` numbers.

    dtype  e0m4 or q8, in groups of `group` codes with a scale and, if `zero`, a zero point; f16 or
           f32; u32 or u8: an array of a whole matrix, as a weight's of that layout
    """

    name: str
    offset: int
    bytes: int
    dtype: str
    length: int
    group: int = field(default=0, metadata={"unless_empty": True})
    zero: bool = field(default=False, metadata={"unless_empty": True})


@dataclass(frozen=True)
class Table:
    """`count` records of `bytes` each, `stride` apart, from byte `offset` of a file on.

    order       the weight i32[count] that says which index each record has; None: its own number
    importance  the weight f32[count], by record: what it adds on average; None: all alike
    """

    name: str
    kind: str
    count: int
    bytes: int
    stride: int
    file: int
    offset: int
    parts: tuple[Part, ...]
    order: int | None = None
    importance: int | None = field(default=None, metadata={"unless_empty": True})


@dataclass(frozen=True)
class PlannedFlash:
    """The flash that points were planned for: what a read takes, as of offload/flash_model.py.

    alpha_s + bytes / bytes_per_s; or, by its order, rows (bytes of a read, bytes a second) of
    ascending size. latency_s is added once to each batch.
    """

    name: str
    alpha_s: float = field(default=0.0, metadata={"unless_empty": True})
    bytes_per_s: float = field(default=0.0, metadata={"unless_empty": True})
    latency_s: float = field(default=0.0, metadata={"unless_empty": True})
    random: tuple[tuple[int, float], ...] = field(default=(), metadata={"unless_empty": True})
    sequential: tuple[tuple[int, float], ...] = field(default=(), metadata={"unless_empty": True})


@dataclass(frozen=True)
class Point:
    """A way to run the plan: what it may take of memory, and what it does with it.

    memory       bytes of all that the plan allocates
    flash        how fast the flash is, relative to the profile's
    slots        of each table: records that it keeps in memory
    pinned       of these, the first ones, which are never evicted
    dense        of these, the first ones, which are computed without being selected, before
                 anybody knows what is: tables of which gathers select by DENSE or take all. Where
                 all are pinned it means nothing
    select       of each gather, in the order of phases and steps: the threshold, or k
    gap          bytes between two reads that are rather read and discarded
    max_read     bytes of a read, at most
    threads      that read
    cluster      records that are waited for together
    predicted_s  of a token
    window       of each table: steps that its cache begins with under the policy of that name;
                 none: 1
    ahead        of each prefetch, in the order of phases and steps: records that it reads, at most;
                 none: it reads none
    tiles        that the place of streamed records has room for: one is computed, others are read
    engine       what computes records where a gather has a unit: the device, as without a word;
                 threads of the host; or both: threads what is read, the device what was in memory
    """

    memory: int
    slots: tuple[int, ...]
    pinned: tuple[int, ...]
    dense: tuple[int, ...]
    policy: str
    select: tuple[float, ...]
    gap: int
    max_read: int
    threads: int
    cluster: int
    predicted_s: float = 0.0
    flash: float = 1.0
    window: tuple[int, ...] = field(default=(), metadata={"unless_empty": True})
    ahead: tuple[int, ...] = field(default=(), metadata={"unless_empty": True})
    tiles: int = LEAST_TILES
    engine: str = field(default="", metadata={"unless_empty": True})
