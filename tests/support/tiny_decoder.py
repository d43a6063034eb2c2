"""A whole decoder of one layer in ONNX text, as an exporter would spell it: 107 nodes."""

import re

import numpy as np
import onnx_ir as ir
from pass_helpers import noted, text

DECODER = """<ir_version: 10, opset_import: ["": %(opset)s]>
decoder (int64[%(B)s, %(S)s] input_ids, %(mask_type)s[%(B)s, %(T)s] attention_mask,
  int64[%(B)s, %(S)s] position_ids,
  float[%(B)s, 2, %(P)s, 8] cache_k, float[%(B)s, 2, %(P)s, 8] cache_v)
  => (float[%(B)s, %(S)s, 40] logits, float[%(B)s, 2, %(T)s, 8] new_k,
  float[%(B)s, 2, %(T)s, 8] new_v)
<float[40, 32] table, float[32] g1, float[32] g2, float[32] g3, float[32, 32] wq, float[32, 16] wk,
 float[32, 16] wv, float[16] bk, float[32, 32] wo, float[32, 48] wg, float[32, 48] wu,
 float[48, 32] wd, float[1, 4, 1] frequencies, float two = {2.0}, float eps = {0.00001},
 int64[1] last = {-1}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64[1] v0 = {0},
 int64[1] v1 = {1}, int64[1] v2 = {2}, int64[1] v3 = {3}, int64[1] v4 = {4}, int64[1] v8 = {8},
 int64[1] minus = {-1}, int64[1] end = {9223372036854775807},
 float fzero = {0}, float low = {-3.4028235e38}, float scale = {0.3535534}>
{ h = Gather(table, input_ids)
  p1 = Pow(h, two)  m1 = ReduceMean(p1, last)  e1 = Add(m1, eps)  s1 = Sqrt(e1)
  r1 = Reciprocal(s1)  n1 = Mul(h, r1)  x = Mul(g1, n1)
  shape = Shape(x)  batch = Gather(shape, i0)  seq = Gather(shape, i1)
  ub = Unsqueeze(batch, v0)  us = Unsqueeze(seq, v0)  split = Concat<axis = 0>(ub, us, minus, v8)
  q0 = MatMul(x, wq)  q1 = Reshape(q0, split)  q = Transpose<perm = [0, 2, 1, 3]>(q1)
  k00 = MatMul(x, wk)  k0 = Add(k00, bk)  k1 = Reshape(k0, split)
  k = Transpose<perm = [0, 2, 1, 3]>(k1)
  w0 = MatMul(x, wv)  w1 = Reshape(w0, split)  v = Transpose<perm = [0, 2, 1, 3]>(w1)
  f0 = Cast<to = 1>(position_ids)  f1 = Unsqueeze(f0, v1)  f2 = MatMul(frequencies, f1)
  f3 = Transpose<perm = [0, 2, 1]>(f2)  f4 = Concat<axis = -1>(f3, f3)  cos0 = Cos(f4)
  sin0 = Sin(f4)  cos = Unsqueeze(cos0, v1)  sin = Unsqueeze(sin0, v1)
  qa = Slice(q, v0, v4, v3)  qb = Slice(q, v4, end, v3)  qn = Neg(qb)
  qh = Concat<axis = -1>(qn, qa)  qc = Mul(q, cos)  qs = Mul(qh, sin)  qr = Add(qc, qs)
  ka = Slice(k, v0, v4, v3)  kb = Slice(k, v4, end, v3)  kn = Neg(kb)
  kh = Concat<axis = -1>(kn, ka)  kc = Mul(k, cos)  ks = Mul(kh, sin)  kr = Add(kc, ks)
  new_k = Concat<axis = 2>(cache_k, kr)  new_v = Concat<axis = -2>(cache_v, v)
  kshape = Shape(new_k)  total = Gather(kshape, i2)  ut = Unsqueeze(total, v0)
  before = Sub(total, seq)  index = Range(i0, seq, i1)  at0 = Add(index, before)
  at = Unsqueeze(at0, v1)  cols = Range(i0, total, i1)  causal = LessOrEqual(cols, at)
  real0 = Cast<to = 9>(attention_mask)  real1 = Unsqueeze(real0, v1)
  real = Unsqueeze(real1, v2)  seen = And(causal, real)  bias = Where(seen, fzero, low)
  copies = Concat<axis = 0>(ub, v2, v2, ut, v8)  joined = Concat<axis = 0>(ub, v4, ut, v8)
  ke0 = Unsqueeze(new_k, v2)  ke1 = Expand(ke0, copies)  ke = Reshape(ke1, joined)
  ve0 = Unsqueeze(new_v, v2)  ve1 = Expand(ve0, copies)  ve = Reshape(ve1, joined)
  kt = Transpose<perm = [0, 1, 3, 2]>(ke)  a0 = MatMul(qr, kt)  a1 = Mul(a0, scale)
  a2 = Add(a1, bias)  a3 = Softmax<axis = -1>(a2)  nan = IsNaN(a3)  a4 = Where(nan, fzero, a3)
  o0 = MatMul(a4, ve)  o1 = Transpose<perm = [0, 2, 1, 3]>(o0)
  flat = Concat<axis = 0>(ub, us, minus)  o2 = Reshape(o1, flat)  o = MatMul(o2, wo)
  h1 = Add(h, o)
  p2 = Pow(h1, two)  m2 = ReduceMean(p2, last)  e2 = Add(m2, eps)  s2 = Sqrt(e2)
  r2 = Reciprocal(s2)  n2 = Mul(h1, r2)  y = Mul(g2, n2)
  gate = MatMul(y, wg)  up = MatMul(y, wu)  sg = Sigmoid(gate)  act = Mul(gate, sg)
  mix = Mul(act, up)  down = MatMul(mix, wd)  h2 = Add(h1, down)
  p3 = Pow(h2, two)  m3 = ReduceMean(p3, last)  e3 = Add(m3, eps)  s3 = Sqrt(e3)
  r3 = Reciprocal(s3)  n3 = Mul(h2, r3)  z = Mul(g3, n3)
  tt = Transpose<perm = [1, 0]>(table)  logits = MatMul(z, tt) }"""


def decoder_text(**change: str) -> str:
    """The text, with other symbols, opset or mask type."""
    names = {"B": "B", "S": "S", "T": "T", "P": "P", "opset": "18", "mask_type": "int64"}
    source = DECODER % {**names, **change}
    if int({**names, **change}["opset"]) < 18:  # axes were an attribute
        source = re.sub(r"ReduceMean\((\w+), last\)", r"ReduceMean<axes = [-1]>(\1)", source)
    return source


def tiny(replace: tuple[str, str] = ("", ""), **change: str) -> ir.Model:
    """The decoder, noted for the passes, with a piece of its text replaced."""
    source = decoder_text(**change)
    assert replace[0] in source
    return noted(text(source.replace(*replace)), context=32, chunk=8)


def feeds(seq: int, past: int = 0) -> dict[str, np.ndarray]:
    """For the decoder as it is given, and as the passes leave it; the caches are empty."""
    ids = np.random.default_rng(4).integers(0, 40, (1, seq))
    mask, positions = np.ones((1, past + seq), np.int64), np.arange(past, past + seq)[None]
    cache = np.zeros((1, 2, past, 8), np.float32)
    state = np.zeros((1, 2, 32, 8), np.float32)
    return {
        **{"input_ids": ids, "attention_mask": mask, "position_ids": positions},
        **{"cache_k": cache, "cache_v": cache},
        **{"state.layers.0.k": state, "state.layers.0.v": state},
        **{"past": np.array([past]), "start": np.array([0]), "rows": np.array([seq])},
        "text_length": np.array([0]),
    }


def layered(layers: int) -> ir.Model:
    """The decoder with its layer repeated, each with a cache of its own."""
    proto = ir.to_proto(text(decoder_text()))
    _, *nodes = proto.graph.node
    outputs = [name for node in nodes for name in node.output]
    size = outputs.index("h2") + 1
    body, tail = nodes[:size], nodes[size:]
    own = {*outputs[:size], "cache_k", "cache_v"}
    del proto.graph.node[1:]
    for i in range(layers):
        for node in body:
            copy = proto.graph.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [_of_layer(name, i, own) for name in node.input]
            copy.output[:] = [_of_layer(name, i, own) for name in node.output]
    proto.graph.node.extend(tail)
    for node in proto.graph.node[-len(tail) :]:
        node.input[:] = [_of_layer(name, layers - 1, {"h2"}) for name in node.input]
    for values in (proto.graph.input, proto.graph.output):
        caches = [value for value in values if value.name in own]
        for value in caches:
            values.remove(value)
        for i in range(layers):
            for value in caches:
                values.add().CopyFrom(value)
                values[-1].name = _of_layer(value.name, i, own)
    return noted(ir.from_proto(proto), context=32, chunk=8)


def _of_layer(name: str, layer: int, own: set[str]) -> str:
    if name == "h":
        return f"h2.{layer - 1}" if layer else name
    return f"{name}.{layer}" if name in own else name
