"""The tiny decoder as exporters of models that see write it: embeddings in, from another file."""

import onnx_ir as ir
from any_decoder import EMBEDDED
from pass_helpers import text
from tiny_decoder import decoder_text

FRONT = """<ir_version: 10, opset_import: ["": %(opset)s]>
front (int64[B, S] input_ids%(inputs)s) => (%(kind)s[B, S, 32] inputs_embeds%(outputs)s)
<%(kind)s[40, 32] table, int64 zero = {0}, int64 picture = {39}, int64[1] last = {-1},
 int64 one = {1}, %(kind)s two = {2}>
{ %(body)s }"""
PICTURES = ", %(kind)s[N, 32] image_features"
# How tokens become embeddings, and where pictures are put in.
SPELLINGS: dict[str, dict[str, str]] = {
    "looked up": {"body": "inputs_embeds = Gather(table, input_ids)"},
    "an older opset": {"body": "inputs_embeds = Gather(table, input_ids)", "opset": "16"},
    "half precision": {"body": "inputs_embeds = Gather(table, input_ids)", "kind": "float16"},
    "pictures scattered": {
        "inputs": PICTURES,
        "body": """c = Max(input_ids, zero)  e = Gather(table, c)  n = Less(input_ids, zero)
          at = NonZero(n)  index = Transpose(at)
          inputs_embeds = ScatterND(e, index, image_features)""",
    },
    "pictures chosen": {
        "inputs": PICTURES,
        "body": """e = Gather(table, input_ids)  is = Equal(input_ids, picture)
          n = Cast<to = 7>(is)  counted = CumSum(n, one)  index = Sub(counted, one)
          f = Gather(image_features, index)  is3 = Unsqueeze(is, last)  both = Where(is3, f, e)
          inputs_embeds = Identity(both)""",
    },
    "two outputs": {
        "outputs": ", %(kind)s[B, S, 32] per_layer_inputs",
        "body": """inputs_embeds = Gather(table, input_ids)
          per_layer_inputs = Mul(inputs_embeds, two)""",
    },
}


def front(name: str, **changes: str) -> ir.Model:
    """The graph that embeds tokens."""
    usual = {"opset": "18", "inputs": "", "outputs": "", "kind": "float"}
    parts = {**usual, **SPELLINGS[name], **changes}
    parts |= {key: parts[key] % parts for key in ("inputs", "outputs")}
    return text(FRONT % parts)


def embedded(name: str = "", wanted: str = "inputs_embeds") -> ir.Model:
    """The decoder that takes what such a graph gives."""
    return text(embedded_text(name, wanted))


def embedded_text(name: str = "", wanted: str = "inputs_embeds") -> str:
    """Its text."""
    source = decoder_text().replace("int64[B, S] input_ids", f"float[B, S, 32] {wanted}")
    taken = f"h = Identity({wanted})"
    if name == "two outputs":
        source = source.replace("int64[B, S] position_ids", "float[B, S, 32] per_layer_inputs,"
                                "  int64[B, S] position_ids")  # fmt: skip
        taken = f"h = Add({wanted}, per_layer_inputs)"
    return source.replace(EMBEDDED, taken)
