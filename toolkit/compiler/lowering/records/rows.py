"""An embedding whose rows lie in flash: a gather by the ids that the text has."""

from opencl_kernels.records.embed_rows import EmbedRows
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.drafts import GatherDraft
from toolkit.compiler.lowering.records.endings import TICKET
from toolkit.compiler.weights.rows import TabledRows
from toolkit.plan.expr import maximum
from toolkit.plan.schema import Ref, Select

SLOTS: Ref = ("slots",)
PARTS = ("row",)


def lower_rows(b: PhaseBuilder, tabled: TabledRows) -> None:
    """Of each id its row; the ids are those that the host or the sampler has written."""
    node = tabled.node
    b.done.add(node)
    y = node.outputs[0]
    ids, into, rows = b.location(node.inputs[1]).ref, b.output(y), b.rows(y)
    most = maximum(rows, b.box)
    case = EmbedRows(
        M=rows,
        PARTS=1,
        D=tabled.record.length,
        w=tabled.record.stored,
        S=tabled.count,
        T=min(most, tabled.count),
        F=tabled.count,
        y=into.dtype,
    )
    refs = {"ticket": TICKET, "slots": SLOTS, "tokens": ids, "y": into.ref}
    inner = b.draft("embed", "embed_rows", case, refs)
    select = Select("ids", ids, k=most)
    gather = GatherDraft(tabled.name, tabled.table, PARTS, select, (inner,), whole=most == 1)
    b.steps.append(gather)
