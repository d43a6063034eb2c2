"""The plan: what a compile writes and an executor runs, as frozen values.

Each class is one kind of JSON object and each field one key of plan.json (text.py). An index
("program": 5) counts lines of the list of that name.
"""

from toolkit.plan.schema.kernel_tests import Expected, Fill, KernelTest
from toolkit.plan.schema.memory import (
    DTYPE_BYTES,
    STATE_LAYOUTS,
    UPDATES,
    WEIGHT_ALIGN,
    Buffer,
    FileEntry,
    Scratch,
    State,
    SymbolDecl,
    Weight,
)
from toolkit.plan.schema.plan import FORMAT, Cooperative, Phase, Plan
from toolkit.plan.schema.programs import (
    BUILD_OPTIONS,
    FEATURES,
    TEXEL,
    DriverFault,
    Program,
    Variant,
)
from toolkit.plan.schema.steps import (
    HOST_OPS,
    SELECTORS,
    STEPS,
    Dispatch,
    Gather,
    HostStep,
    Ref,
    Select,
    Step,
    WaitStep,
    dispatches_of,
    refs_of,
    with_dispatches,
)
from toolkit.plan.schema.tables import (
    MOST_WINDOW,
    PAGE,
    POLICIES,
    SLOT_ALIGN,
    Part,
    Point,
    Table,
)

__all__ = [
    "BUILD_OPTIONS",
    "DTYPE_BYTES",
    "FEATURES",
    "FORMAT",
    "HOST_OPS",
    "MOST_WINDOW",
    "PAGE",
    "POLICIES",
    "SELECTORS",
    "SLOT_ALIGN",
    "STATE_LAYOUTS",
    "STEPS",
    "TEXEL",
    "UPDATES",
    "WEIGHT_ALIGN",
    "Buffer",
    "Cooperative",
    "Dispatch",
    "DriverFault",
    "Expected",
    "FileEntry",
    "Fill",
    "Gather",
    "HostStep",
    "KernelTest",
    "Part",
    "Phase",
    "Plan",
    "Point",
    "Program",
    "Ref",
    "Scratch",
    "Select",
    "State",
    "Step",
    "SymbolDecl",
    "Table",
    "Variant",
    "WaitStep",
    "Weight",
    "dispatches_of",
    "refs_of",
    "with_dispatches",
]
