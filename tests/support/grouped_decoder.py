"""A decoder of one attention layer and any number of heads, as ONNX Runtime GenAI spells it."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

DECODER = """<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
decoder (int64[B, S] input_ids, int64[B, T] attention_mask,
  float[B, %(G)d, P, %(K)d] past_k, float[B, %(G)d, P, %(K)d] past_v)
  => (float[B, S, 24] logits, float[B, %(G)d, T, %(K)d] present_k,
  float[B, %(G)d, T, %(K)d] present_v)
<int64[1] one = {1}>
{ h = Gather(table, input_ids)
  sum = ReduceSum<keepdims = 0>(attention_mask, one)  less = Sub(sum, one)
  lengths = Cast<to = 6>(less)
  shape = Shape<start = 1, end = 2>(attention_mask)  t0 = Squeeze(shape)  total = Cast<to = 6>(t0)
  qkv = MatMul(h, wqkv)
  y, present_k, present_v = com.microsoft.GroupQueryAttention
    <num_heads = %(H)d, kv_num_heads = %(G)d, do_rotary = 1>
    (qkv, , , past_k, past_v, lengths, total, cosines, sines)
  o = MatMul(y, wo)  h1 = Add(h, o)
  n = SimplifiedLayerNormalization<axis = -1, epsilon = 0.00001>(h1, gamma)
  logits = MatMul(n, head) }"""


def write_decoder(folder: Path, heads: int, kv_heads: int, head_dim: int, positions: int) -> Path:
    """A folder with the model; random weights, scores that differ by some units."""
    rng = np.random.default_rng(0)
    width, queries = 16, heads * head_dim
    sizes = {"table": (24, width), "wqkv": (width, queries + 2 * kv_heads * head_dim)}
    sizes |= {"wo": (queries, width), "head": (width, 24)}
    weights = {name: rng.standard_normal(s) / np.sqrt(s[0]) for name, s in sizes.items()}
    weights["table"] *= 5
    weights["gamma"] = rng.uniform(0.5, 1.5, width)
    angles = np.outer(np.arange(positions), 10000.0 ** -np.linspace(0, 1, head_dim // 2))
    weights |= {"cosines": np.cos(angles), "sines": np.sin(angles)}
    model = onnx.parser.parse_model(DECODER % {"H": heads, "G": kv_heads, "K": head_dim})
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(value), name) for name, value in weights.items()
    )
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return folder
