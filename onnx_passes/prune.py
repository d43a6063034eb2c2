"""What nothing reads goes: nodes, initializers, inputs, imports of op domains.

Before roles are looked for, as an input that nothing reads has none.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import drop_unused, drop_unused_inputs
from onnx_passes.ir.rules import Outcome


def prune(model: ir.Model) -> Outcome:
    """Remove it; count the nodes and inputs."""
    before = len(model.graph) + len(model.graph.inputs)
    drop_unused(model)
    drop_unused_inputs(model)
    _drop_imports(model)
    return Outcome(before - len(model.graph) - len(model.graph.inputs))


def _drop_imports(model: ir.Model) -> None:
    """ONNX Runtime's optimizer imports every domain that it knows, with or without nodes of it."""
    used = {node.domain for node in model.graph.all_nodes()}
    for domain in set(model.opset_imports) - used - {""}:
        del model.opset_imports[domain]
