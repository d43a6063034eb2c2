"""An op that no kernel computes  ->  its body in simpler ops, from ONNX's schemas or ops.txt.

ONNX defines many ops as functions (GELU, HardSwish, GroupNormalization, RotaryEmbedding …), and so
do we: what is left of them when all fusions are done is written out, again and again until all has
kernels or no body. What kernels compute is a fact of the compile (`Facts.computes`).
"""

from functools import partial

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnx_passes.fold_constants import fold_constants
from onnx_passes.ir.bodies import body_of
from onnx_passes.ir.edit import forget_names
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN
from onnx_passes.ir.infer import infer
from onnx_passes.ir.ops import OPSET
from onnx_passes.ir.rules import Miss, Outcome, attempt
from onnx_passes.resolve_shapes import resolve_shapes
from onnx_passes.split_variadic import split_variadic
from onnx_passes.unbundle import unbundle

CALLED = "pocket.body"  # domain of the functions while they are called


def inline_bodies(model: ir.Model) -> Outcome:
    """Inline the bodies of nodes without a kernel, and of what those are made of."""
    computes, done = Facts.of(model).computes, Outcome(0)
    while True:
        left = [node for node in model.graph if not computes(node)]
        outcome = attempt((node, partial(_call, model, node)) for node in left)
        done = Outcome(done.rewrites + outcome.rewrites, outcome.misses)
        if not outcome.rewrites:
            break
        InlinePass()(model)
        model.opset_imports.pop(CALLED, None)
        forget_names(model.graph)
        infer(model)  # other bodies depend on types
    if done.rewrites:
        for run in (unbundle, split_variadic, fold_constants, resolve_shapes):
            run(model)
            infer(model)
    return done


def _call(model: ir.Model, node: ir.Node) -> bool:
    """Let the node call a function that is its body."""
    version = model.opset_imports.get("", OPSET)
    body = body_of(node, version)
    if body is None:
        return False
    del body.output[len(node.outputs) :]
    made = {name for inner in body.node for name in inner.output}
    if not made.issuperset(body.output):
        raise Miss("its body lacks an output")
    body.domain, body.name, body.overload = CALLED, f"{node.op_type}_{len(model.functions)}", ""
    del body.opset_import[:]
    for domain, number in (("", version), (DOMAIN, 1)):
        body.opset_import.add(domain=domain, version=number)
    function = ir.serde.deserialize_function(body)
    model.functions[function.identifier()] = function
    model.opset_imports[CALLED] = 1
    node.domain, node.op_type, node.overload = CALLED, body.name, ""
    return True
