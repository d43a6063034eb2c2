"""Symbolic shapes: `onnx-shape-inference` with what it lacks, and sympy expressions for dimensions.

Every dimension is an expression in a few integer symbols (`seq`, `past`, `rows`); `as_expr` is the one way to it.
"""

import json
import warnings
from collections.abc import Callable

import onnx_ir as ir
import onnx_shape_inference as osi
import sympy

from onnx_passes.graph import DOMAIN, attribute

Dim = int | ir.SymbolicDim
Context = osi.ShapeInferenceContext


def as_expr(dim: Dim) -> sympy.Expr:
    """A dimension as a sympy expression over non-negative integer symbols."""
    if isinstance(dim, int):
        return sympy.Integer(dim)
    if dim.value is None:
        raise ValueError("an unknown dimension has no expression")
    return parse(str(dim.value))


def parse(text: str) -> sympy.Expr:
    """Read a dimension's text; every name in it becomes a non-negative integer symbol."""
    expr = sympy.sympify(text, locals=_RESERVED)
    names = {s: sympy.Symbol(s.name, integer=True, nonnegative=True) for s in expr.free_symbols}
    return expr.xreplace(names)


# Names that sympy would read as functions or constants.
_RESERVED = {name: sympy.Symbol(name) for name in ("N", "S", "E", "I", "O", "Q", "seq", "past", "rows")}


def infer(model: ir.Model) -> None:
    """Give every value its shape and type, from the inputs alone: declared shapes are never trusted."""
    _register()
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        osi.infer_symbolic_shapes(model, warn_on_missing=False, adopt_declared_symbols=False)
    for node in model.graph:
        for output in node.outputs:
            if output.shape is not None:
                output.shape = ir.Shape([_number(dim) for dim in output.shape])


def _number(dim: Dim) -> Dim:
    """An int for a symbolic dimension that is one (the inference leaves some as text)."""
    text = None if isinstance(dim, int) else dim.value
    return int(text) if text is not None and text.isdecimal() else dim


def symbolic_value(value: ir.Value | None) -> list[sympy.Expr] | None:
    """The elements of a small integer tensor as expressions, as far as `infer` could follow them."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return [sympy.Integer(int(x)) for x in tensor.numpy().reshape(-1)] if tensor.size < 64 else None
    text = value.metadata_props.get(osi.SYM_DATA_KEY)
    if text is None:
        return None
    elements = [x if isinstance(x, str) else str(x) for x in json.loads(text)]
    return None if any(x == "None" or x.startswith("_d") for x in elements) else [parse(x) for x in elements]


def unresolved_dims(model: ir.Model) -> list[str]:
    """Names of values with a dimension that is unknown or an anonymous symbol of the inference."""
    known = set(model.metadata_props.get("pocket.symbols", "").split(","))
    open_values = []
    for node in model.graph:
        for output in node.outputs:
            if output.name and (output.shape is None or any(_is_open(dim, known) for dim in output.shape)):
                open_values.append(output.name)
    return open_values


def _is_open(dim: Dim, known: set[str]) -> bool:
    return not isinstance(dim, int) and (dim.value is None or not {s.name for s in as_expr(dim).free_symbols} <= known)


Elements = list[int | ir.SymbolicDim]


def _elements(context: Context, value: ir.Value | None) -> Elements | None:
    """Symbolic elements of a value, constants included."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None and tensor.size < 64 and tensor.numpy().dtype.kind in "iub":
        return [int(x) for x in tensor.numpy().reshape(-1)]
    found = context.get_symbolic_value(value)
    return None if found is None else list(found)


def _set(context: Context, value: ir.Value, shape: ir.Shape | list[Dim] | None, like: ir.Value | None) -> None:
    context.set_shape_and_dtype(
        value, ir.Shape(shape) if isinstance(shape, list) else shape, None if like is None else like.dtype
    )


def _shape_filler(context: Context, node: ir.Node) -> None:
    """ConstantOfShape of a known length: its elements are known too (exporters build Expand targets so)."""
    sizes = _elements(context, node.inputs[0])
    tensor = attribute(node, "value")
    fill = 0 if tensor is None else tensor.numpy().reshape(-1)[0]
    if sizes is not None and len(sizes) == 1 and isinstance(sizes[0], int) and sizes[0] < 64:
        context.set_symbolic_value(node.outputs[0], [int(fill)] * sizes[0])


def _shape_product(context: Context, node: ir.Node) -> None:
    a, b = (_elements(context, x) for x in node.inputs[:2])
    if a is not None and b is not None and (len(a) == len(b) or 1 in (len(a), len(b))):
        count = max(len(a), len(b))
        pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=True)
        context.set_symbolic_value(node.outputs[0], [x * y for x, y in pairs])


def _equal(context: Context, node: ir.Node) -> None:
    """Equal of shape elements: a size (≥ 0, symbolic) never equals the -1 that marks an inferred one."""
    a, b = (_elements(context, x) for x in node.inputs[:2])
    if a is None or b is None or len(a) != len(b):
        return
    answers = [_same(x, y) for x, y in zip(a, b, strict=True)]
    if None not in answers:
        context.set_symbolic_value(node.outputs[0], [int(bool(x)) for x in answers])


def _same(a: Dim, b: Dim) -> bool | None:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    difference = sympy.simplify(as_expr(a) - as_expr(b))
    if difference == 0:
        return True
    return False if difference.is_positive or difference.is_negative else None


def _where(context: Context, node: ir.Node) -> None:
    condition, a, b = (_elements(context, x) for x in node.inputs[:3])
    if condition is None or a is None or b is None or not len(condition) == len(a) == len(b):
        return
    chosen = [x if c else y for c, x, y in zip(condition, a, b, strict=True)]
    context.set_symbolic_value(node.outputs[0], chosen)


def _skip_norm(context: Context, node: ir.Node) -> None:
    """com.microsoft skip norms: normalised, mean, inverse deviation, and the sum that goes on as the residual."""
    for index in (0, 3):
        if index < len(node.outputs):
            _set(context, node.outputs[index], node.inputs[0].shape, node.inputs[0])  # type: ignore[union-attr]


def _like_first(context: Context, node: ir.Node) -> None:
    first = node.inputs[0]
    for output in node.outputs:
        _set(context, output, None if first is None else first.shape, first)


def _last_rows(context: Context, node: ir.Node) -> None:
    x = node.inputs[0]
    if x is not None and x.shape is not None:
        _set(context, node.outputs[0], [x.shape[0], ir.SymbolicDim("rows"), *x.shape[2:]], x)


def _glu(context: Context, node: ir.Node) -> None:
    x = node.inputs[0]
    if x is not None and x.shape is not None:
        last = x.shape[-1]
        _set(context, node.outputs[0], [*x.shape[:-1], last // 2 if isinstance(last, int) else None], x)  # type: ignore[list-item]


def _linear(context: Context, node: ir.Node) -> None:
    x, weight = node.inputs[0], node.inputs[1]
    if x is not None and weight is not None and x.shape is not None and weight.shape is not None:
        _set(context, node.outputs[0], [*x.shape[:-1], weight.shape[-1]], x)


def _rope_kv_write(context: Context, node: ir.Node) -> None:
    qkv, k_state, v_state = node.inputs[0], node.inputs[3], node.inputs[4]
    if qkv is None or k_state is None or qkv.shape is None or k_state.shape is None or v_state is None:
        return
    shape: list[Dim] = [qkv.shape[0], qkv.shape[1], attribute(node, "heads"), k_state.shape[3]]
    _set(context, node.outputs[0], shape, qkv)
    _set(context, node.outputs[1], k_state.shape, k_state)
    _set(context, node.outputs[2], v_state.shape, v_state)


def _then(original: Callable[..., None] | None, more: Callable[..., None]) -> Callable[..., None]:
    def both(context: Context, node: ir.Node) -> None:
        if original is not None:
            original(context, node)
        more(context, node)

    return both


_OURS = {"RmsNorm": _like_first, "AddRmsNorm": _like_first, "Rope": _like_first, "KvWrite": _like_first,
         "Attention": _like_first, "Glu": _glu, "LastRows": _last_rows, "Linear": _linear,
         "RopeKvWrite": _rope_kv_write}  # fmt: skip
_MORE = {"ConstantOfShape": _shape_filler, "Mul": _shape_product, "Equal": _equal, "Where": _where}
_registered = False


def _register() -> None:
    """Add our rules to the inference once; for ONNX's own ops ours runs after the library's."""
    global _registered
    if _registered:
        return
    osi.registry.collect()
    for op_type, rule in _OURS.items():
        osi.registry.register(DOMAIN, op_type, since_version=1)(rule)
    osi.registry.register("com.microsoft", "SkipSimplifiedLayerNormalization", since_version=1)(_skip_norm)
    for op_type, rule in _MORE.items():
        originals = {version: osi.registry.get("", op_type, version=version) for version in range(1, 27)}
        for version, original in originals.items():
            osi.registry.register("", op_type, since_version=version)(_then(original, rule))
    _registered = True
