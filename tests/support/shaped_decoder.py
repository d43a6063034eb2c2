"""Decoders of any shape in ONNX, without weights: for what depends on sizes alone.

    python tests/support/shaped_decoder.py gemma-2b OUT

writes a model of halves whose matrices are holes in a file but for two rows: it takes little space,
and computes nothing sensible.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

POSITIONS = 4096
WIDTH = 2  # bytes of an element


@dataclass(frozen=True)
class Shape:
    """Layers, and the letters of dimensions as case.py has them."""

    layers: int
    D: int
    H: int
    G: int
    K: int
    F: int
    V: int
    gate: str = "silu"


SHAPES = {
    "gemma-2b": Shape(18, 2048, 8, 1, 256, 16384, 256000, "gelu"),
    "chatglm2-6b": Shape(28, 4096, 32, 2, 128, 13696, 65024),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, 128256),
    "qwen2.5-1.5b": Shape(28, 1536, 12, 2, 128, 8960, 151936),
    "qwen3-0.6b": Shape(28, 1024, 16, 8, 128, 3072, 151936),
    "gemma3-1b": Shape(26, 1152, 4, 1, 256, 6912, 262144, "gelu"),
    "tiny": Shape(2, 64, 4, 2, 16, 128, 256),
}
HEAD = """<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
decoder (int64[B, S] input_ids, int64[B, T] attention_mask%(past)s)
  => (float16[B, S, %(V)d] logits%(present)s)
<int64[1] one = {1}, int64[1] minus = {-1}>
{ h0 = Gather(table, input_ids)
  sum = ReduceSum<keepdims = 0>(attention_mask, one)  less = Sub(sum, one)
  lengths = Cast<to = 6>(less)
  shape = Shape<start = 1, end = 2>(attention_mask)  t0 = Squeeze(shape)  total = Cast<to = 6>(t0)
"""
LAYER = """
  x%(i)d = SimplifiedLayerNormalization<axis = -1, epsilon = 0.00001>(h%(i)d, gamma)
  qkv%(i)d = MatMul(x%(i)d, wqkv%(i)d)
  y%(i)d, new_k%(i)d, new_v%(i)d = com.microsoft.GroupQueryAttention
    <num_heads = %(H)d, kv_num_heads = %(G)d, do_rotary = 1>
    (qkv%(i)d, , , past_k%(i)d, past_v%(i)d, lengths, total, cosines, sines)
  o%(i)d = MatMul(y%(i)d, wo%(i)d)  a%(i)d = Add(h%(i)d, o%(i)d)
  n%(i)d = SimplifiedLayerNormalization<axis = -1, epsilon = 0.00001>(a%(i)d, gamma)
  g%(i)d = MatMul(n%(i)d, wg%(i)d)  u%(i)d = MatMul(n%(i)d, wu%(i)d)
  %(gate)s
  m%(i)d = Mul(s%(i)d, u%(i)d)  d%(i)d = MatMul(m%(i)d, wd%(i)d)  h%(next)d = Add(a%(i)d, d%(i)d)
"""
GATES = {
    "silu": "sg%(i)d = Sigmoid(g%(i)d)  s%(i)d = Mul(g%(i)d, sg%(i)d)",
    "gelu": 's%(i)d = Gelu<approximate = "tanh">(g%(i)d)',
}
TAIL = """
  z = SimplifiedLayerNormalization<axis = -1, epsilon = 0.00001>(h%(layers)d, gamma)
  logits = MatMul(z, head) }"""


def write_decoder(folder: Path, shape: Shape, positions: int = POSITIONS) -> Path:
    """A folder with model.onnx, and model.data of holes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(_text(shape))
    angles = np.outer(np.arange(positions), 10000.0 ** -np.linspace(0, 1, shape.K // 2))
    known = {"cosines": np.cos(angles), "sines": np.sin(angles), "gamma": np.ones(shape.D)}
    tensors = [numpy_helper.from_array(np.float16(value), name) for name, value in known.items()]
    end = 0
    for name, dims in _matrices(shape):
        size = WIDTH * dims[0] * dims[1]
        tensors.append(_hole(name, dims, end, size))
        end += size
    model.graph.initializer.extend(tensors)
    with (folder / "model.data").open("wb") as file:
        file.truncate(end)
        for tensor in tensors[len(known) :]:  # two rows tell it from others: none are shared
            file.seek(_offset(tensor))
            file.write(rng.standard_normal(2 * tensor.dims[1]).astype(np.float16).tobytes())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    settings = {"eos_token_id": 0, "max_position_embeddings": positions}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def _text(shape: Shape) -> str:
    sizes, layers = vars(shape), range(shape.layers)
    past, present = (
        "".join(f", float16[B, {shape.G}, {tokens}, {shape.K}] {name}{part}{i}"
                for i in layers for part in "kv")
        for tokens, name in (("P", "past_"), ("T", "new_"))
    )  # fmt: skip
    body = "".join(
        LAYER % {**sizes, "i": i, "next": i + 1, "gate": GATES[shape.gate] % {"i": i}}
        for i in layers
    )
    return HEAD % {**sizes, "past": past, "present": present} + body + TAIL % sizes


def _matrices(shape: Shape) -> Iterator[tuple[str, tuple[int, int]]]:
    queries = shape.H * shape.K
    yield "table", (shape.V, shape.D)
    for i in range(shape.layers):
        yield f"wqkv{i}", (shape.D, queries + 2 * shape.G * shape.K)
        yield f"wo{i}", (queries, shape.D)
        yield f"wg{i}", (shape.D, shape.F)
        yield f"wu{i}", (shape.D, shape.F)
        yield f"wd{i}", (shape.F, shape.D)
    yield "head", (shape.D, shape.V)


def _hole(name: str, dims: tuple[int, int], offset: int, size: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, dims=dims, data_type=onnx.TensorProto.FLOAT16)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "model.data", "offset": offset, "length": size}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _offset(tensor: onnx.TensorProto) -> int:
    return next(int(each.value) for each in tensor.external_data if each.key == "offset")


if __name__ == "__main__":
    print(write_decoder(Path(sys.argv[2]), SHAPES[sys.argv[1]]))
