"""Every op of ops.txt against numpy: odd sizes, both storage types, every opset of our sources."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.ir.graph import DOMAIN
from onnx_passes.ir.ops import definitions
from toolkit.offload.selection import select
from toolkit.plan.schema import Select

Array = np.ndarray
RANDOM = np.random.default_rng(2)
OPSETS = range(18, 25)
# op -> the least to compare at: the tests of an op go through `call`, which notes it here
CALLED: set[tuple[str, str]] = set()


def call(
    op: str,
    *inputs: Array,
    opset: int = 18,
    outputs: int = 1,
    dtype: Any = None,
    **attributes: Any,
) -> Any:
    """`op`, or "op:overload", on arrays.

    dtype  of the outputs, or of each of them; None: that of the first input
    """
    given = dtype if isinstance(dtype, tuple) else (dtype or inputs[0].dtype,) * outputs
    types = [np.dtype(each) for each in given]
    op_type, _, overload = op.partition(":")
    CALLED.add((op_type, overload))
    values = [
        ir.val(f"x{i}", dtype=ir.DataType.from_numpy(x.dtype), shape=x.shape)
        for i, x in enumerate(inputs)
    ]
    node = ir.node(
        op_type, values, attributes, domain=DOMAIN, overload=overload, num_outputs=outputs
    )
    for index, (output, made) in enumerate(zip(node.outputs, types, strict=True)):
        output.name, output.dtype = f"y{index}", ir.DataType.from_numpy(made)
    imports = {"": opset, DOMAIN: 1}
    graph = ir.Graph(values, node.outputs, nodes=[node], opset_imports=imports, name="one")
    feeds = {f"x{i}": x for i, x in enumerate(inputs)}
    found = run(ir.Model(graph, ir_version=10), feeds)
    assert [y.dtype for y in found] == types
    return found[0] if outputs == 1 else found


def random(*shape: int, dtype: Any = np.float32) -> Array:
    return RANDOM.standard_normal(shape).astype(dtype)


def count(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def close(actual: Array, expected: Array) -> None:
    tolerance = 5e-3 if actual.dtype == np.float16 else 2e-5
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance
    )


def norm(x: Array, gamma: Array, eps: float) -> Array:
    wide = x.astype(np.float64)
    return wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps) * gamma


def positions(seq: int, past: int, start: Array) -> Array:
    return np.maximum(past + np.arange(seq)[None] - start[:, None], 0)


def rope(x: Array, cos: Array, sin: Array, past: int, start: Array, interleaved: bool) -> Array:
    at, pairs = positions(x.shape[1], past, start), cos.shape[1]
    y = x.astype(np.float64).copy()
    even = slice(0, 2 * pairs, 2) if interleaved else slice(0, pairs)
    odd = slice(1, 2 * pairs, 2) if interleaved else slice(pairs, 2 * pairs)
    a, b = y[..., even].copy(), y[..., odd].copy()
    c, s = cos[at][:, :, None], sin[at][:, :, None]
    y[..., even], y[..., odd] = a * c - b * s, b * c + a * s
    return y


def kv_write(state: Array, new: Array, past: int) -> Array:
    written = state.copy()
    for i in range(new.shape[1]):
        written[:, :, (past + i) % state.shape[2]] = new[:, i]
    return written


def attention(
    q: Array, k: Array, v: Array, past: int, start: Array, scale: float, window: int
) -> Array:
    """Slots are positions modulo the capacity; the newest tokens are in them."""
    y = np.zeros(q.shape, np.float64)
    capacity, share, last = k.shape[2], q.shape[2] // k.shape[1], past + q.shape[1] - 1
    for b, i, h in np.ndindex(q.shape[:3]):
        first = max(start[b], past + i - window + 1, last - capacity + 1, 0)
        keys = range(first, past + i + 1)
        slots = [j % capacity for j in keys]
        if not slots:
            continue  # a row of padding: nothing reads it
        scores = scale * k[b, h // share, slots].astype(np.float64) @ q[b, i, h].astype(np.float64)
        weights = np.exp(scores - scores.max())
        y[b, i, h] = weights / weights.sum() @ v[b, h // share, slots].astype(np.float64)
    return y


DTYPES = pytest.mark.parametrize("dtype", (np.float32, np.float16))


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
def test_norms(dtype: Any, opset: int) -> None:
    x, residual, gamma = random(2, 7, 65, dtype=dtype), random(2, 7, 65, dtype=dtype), random(65)
    gamma = gamma.astype(dtype)
    close(call("RmsNorm", x, gamma, eps=1e-5, opset=opset), norm(x, gamma, 1e-5))
    total, y = call("AddRmsNorm", x, residual, gamma, eps=0.5, opset=opset, outputs=2)
    close(total, x + residual)
    close(y, norm(x + residual, gamma, 0.5))


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("interleaved", (False, True))
def test_rope(dtype: Any, opset: int, interleaved: bool) -> None:
    name = "Rope:interleaved" if interleaved else "Rope"
    for width, pairs in ((14, 7), (13, 3)):  # whole heads, and heads that turn in part
        x, cos, sin = random(2, 5, 3, width, dtype=dtype), random(11, pairs), random(11, pairs)
        y = call(name, x, cos, sin, count(4), count(0, 6), opset=opset)
        close(y, rope(x, cos, sin, 4, count(0, 6), interleaved))
    if interleaved:  # as bodies of other ops call it
        inner = call("RopeInterleaved", x, cos, sin, count(4), count(0, 6), opset=opset)
        assert np.array_equal(inner, y)


def test_positions() -> None:
    x = np.zeros((2, 5, 1), np.int64)
    found = call("Positions", x, count(3), count(0, 5))
    assert np.array_equal(found, positions(5, 3, count(0, 5)))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("past, seq", ((0, 1), (0, 5), (3, 4), (7, 1)))
def test_masks(past: int, seq: int, opset: int) -> None:
    x, start = np.zeros((3, seq), np.int64), count(0, 2, past + seq)
    j, i = np.arange(past + seq), past + np.arange(seq)
    kept = j >= start[:, None]
    given = (x, count(past), start)
    assert np.array_equal(call("PaddingMask", *given, opset=opset, dtype=bool), kept)
    for window in (1, 3, NO_WINDOW):
        near = (j <= i[:, None]) & (j > i[:, None] - window)
        found = call("CausalMask", *given, opset=opset, dtype=bool, window=window)
        assert np.array_equal(found, kept[:, None, None] & near)


@pytest.mark.parametrize("past, seq", ((0, 1), (0, 5), (3, 4), (7, 1)))
def test_places_and_sizes(past: int, seq: int) -> None:
    x, total = np.zeros((1, seq), np.int64), past + seq
    start = count(0, 2, total)
    keys = call("KeyPositions", x, count(past), start)
    assert np.array_equal(keys, np.maximum(np.arange(total) - start[:, None], 0))
    apart = past + np.arange(seq)[:, None] - np.arange(total)
    assert np.array_equal(call("Distances", x, count(past)), apart)
    found = call("Extent", x, count(past), a=-2, b=3, c=7)
    assert np.array_equal(found, count(3 * seq - 2 * past + 7))
    for wanted in (0, total, total + 3):
        found = call("TextLength", x, count(past), count(wanted))
        assert np.array_equal(found, count(max(total, wanted)))


@DTYPES
@pytest.mark.parametrize("past, seq", ((0, 1), (3, 4)))
def test_spread(dtype: Any, past: int, seq: int) -> None:
    v, x = random(1, 3, 1, 1, 1, dtype=dtype), np.zeros((1, seq), np.int64)
    found = call("Spread", v, x, count(past), shape=[2, 3, -1, -2, -3])
    assert np.array_equal(found, np.broadcast_to(v, (2, 3, seq, past + seq, past)))


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
def test_kv_read(dtype: Any, opset: int) -> None:
    state, new = random(2, 3, 9, 5, dtype=dtype), random(2, 4, 3, 5, dtype=dtype)
    for past in (0, 3, 5):
        found = call("KvRead", state, new, count(past), opset=opset)
        assert np.array_equal(found, state[:, :, : past + 4])


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("past, seq", ((0, 1), (0, 9), (5, 4), (7, 5), (31, 9)))
def test_kv_write_goes_round(dtype: Any, opset: int, past: int, seq: int) -> None:
    state, new = random(2, 3, 9, 5, dtype=dtype), random(2, seq, 3, 5, dtype=dtype)
    found = call("KvWrite", state, new, count(past), opset=opset)
    assert np.array_equal(found, kv_write(state, new, past))


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
def test_attention(dtype: Any, opset: int) -> None:
    cases = ((0, 1, 12, NO_WINDOW), (4, 5, 9, NO_WINDOW), (3, 6, 12, 4), (20, 1, 12, NO_WINDOW))
    for past, seq, capacity, window in cases:
        q = random(2, seq, 6, 5, dtype=dtype)
        k, v = random(2, 3, capacity, 5, dtype=dtype), random(2, 3, capacity, 5, dtype=dtype)
        start = count(0, past // 2)
        attributes = {"scale": 0.4, "window": window}
        y = call("Attention", q, k, v, count(past), start, opset=opset, **attributes)
        close(y, attention(q, k, v, past, start, 0.4, window))


def test_attention_on_a_ring_sees_its_window() -> None:
    window, chunk = 5, 4
    k, v = random(1, 1, window + chunk, 3), random(1, 1, window + chunk, 3)
    for past in (0, 6, 50):
        q = random(1, chunk, 2, 3)
        y = call("Attention", q, k, v, count(past), count(0), scale=1.0, window=window)
        close(y, attention(q, k, v, past, count(0), 1.0, window))


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
def test_glu_linear_and_last_rows(dtype: Any, opset: int) -> None:
    x = random(2, 7, 26, dtype=dtype)
    gate, up = np.split(x.astype(np.float64), 2, axis=-1)
    close(call("Glu:silu", x, opset=opset), gate / (1 + np.exp(-gate)) * up)
    close(call("Glu:relu", x, opset=opset), np.maximum(gate, 0) * up)
    weight, bias = random(26, 5, dtype=dtype), random(5, dtype=dtype)
    expected = x.astype(np.float64) @ weight + bias
    np.testing.assert_allclose(
        call("Linear", x, weight, bias, opset=opset), expected, rtol=2e-2, atol=2e-2
    )
    for rows in (1, 3, 7):
        assert np.array_equal(call("LastRows", x, count(rows), opset=opset), x[:, -rows:])


@DTYPES
@pytest.mark.parametrize("opset", OPSETS)
def test_above(dtype: Any, opset: int) -> None:
    for shape in ((1, 1, 65), (3, 1, 7), (1, 65)):  # one position
        scores = random(*shape, dtype=dtype)
        mask = call("Above", scores, opset=opset, threshold=0.25)
        assert np.array_equal(mask, scores.astype(np.float32) > 0.25)
    for shape in ((1, 2, 63), (7, 5)):
        assert (call("Above", random(*shape, dtype=dtype), opset=opset, threshold=9.0) == 1).all()


@DTYPES
@pytest.mark.parametrize("opset, count", [(18, 1), (18, 7), (18, 65), *((n, 63) for n in OPSETS)])
def test_top_masks_are_the_selectors(dtype: Any, opset: int, count: int) -> None:
    """Ties, among equal magnitudes of both signs, go to the lower index; a NaN is a 0."""
    rng = np.random.default_rng(count)
    v = np.round(rng.standard_normal((1, 1, count)), 1).astype(dtype)
    v[0, 0, rng.random(count) < 0.1] = np.nan
    cached = (rng.random(count) < 0.5).astype(np.float32)
    for k in {count // 2 or 1, count}:
        plain = Select("top", ("scratch", 0), k=k)
        found = call("TopMask", v, opset=opset, k=k)
        assert found.dtype == v.dtype and found.shape == v.shape
        every = np.ones(count, bool)
        assert np.flatnonzero(found).tolist() == select(plain, v[0, 0], count, every).tolist()
        for gamma in (0.0, 0.2):
            found = call("TopMask:cached", v, cached, opset=opset, k=k, gamma=gamma)
            wanted = select(replace(plain, gamma=gamma), v[0, 0], count, cached > 0)
            assert np.flatnonzero(found).tolist() == wanted.tolist()
    several = np.repeat(v, 3, axis=1)
    assert (call("TopMask", several, opset=opset, k=1) == 1).all()
    assert (call("TopMask:cached", several, cached, opset=opset, k=1, gamma=0.5) == 1).all()
    sizes = np.arange(count, dtype=np.float32)[None, None] % 5
    found = call("GreatestMask", v, sizes, opset=opset, k=1)
    assert np.flatnonzero(found).tolist() == [int(sizes.argmax())]


@DTYPES
@pytest.mark.parametrize("interleaved", (False, True))
def test_rope_kv_write(dtype: Any, interleaved: bool) -> None:
    heads, groups, width, seq, past, start = 6, 2, 10, 5, 4, count(0, 3)
    qkv = random(2, seq, (heads + 2 * groups) * width, dtype=dtype)
    k_state, v_state = (random(2, groups, 9, width, dtype=dtype) for _ in range(2))
    cos, sin = random(16, 5), random(16, 5)
    name = "RopeKvWrite:interleaved" if interleaved else "RopeKvWrite"
    inputs = (qkv, cos, sin, k_state, v_state, count(past), start)
    attributes = {"heads": heads, "kv_heads": groups}
    q, k_out, v_out = call(name, *inputs, outputs=3, **attributes)
    split = qkv.reshape(2, seq, heads + 2 * groups, width)
    q0, k0, v0 = np.split(split, [heads, heads + groups], axis=2)
    close(q, rope(q0, cos, sin, past, start, interleaved))
    close(k_out, kv_write(k_state, rope(k0, cos, sin, past, start, interleaved), past))
    close(v_out, kv_write(v_state, v0, past))


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float) -> Array:
    wide = x.astype(np.float64)
    centered = wide - wide.mean(-1, keepdims=True)
    return centered / np.sqrt(np.mean(centered**2, axis=-1, keepdims=True) + eps) * gamma + beta


@DTYPES
def test_rope_kv_write_with_norms_after_it(dtype: Any) -> None:
    """Tables that stretch what they turn tell a norm after the rotation from one before."""
    heads, groups, width, seq, past, start = 3, 1, 9, 4, 2, count(0, 3)
    qkv = random(2, seq, (heads + 2 * groups) * width, dtype=dtype)
    k_state, v_state = (random(2, groups, 7, width, dtype=dtype) for _ in range(2))
    cos, sin = random(8, 3), random(8, 3)
    gammas = random(width, dtype=dtype), random(width, dtype=dtype)
    inputs = (qkv, cos, sin, k_state, v_state, count(past), start, *gammas)
    attributes = {"heads": heads, "kv_heads": groups, "eps": 1e-3}
    q, k_out, v_out = call("RopeKvWrite:normed", *inputs, outputs=3, **attributes)
    split = qkv.reshape(2, seq, heads + 2 * groups, width)
    q0, k0, v0 = np.split(split, [heads, heads + groups], axis=2)
    q1, k1 = (rope(x, cos, sin, past, start, False) for x in (q0, k0))
    close(q, norm(q1, gammas[0], 1e-3))
    close(k_out, kv_write(k_state, norm(k1, gammas[1], 1e-3), past))
    assert np.array_equal(v_out, kv_write(v_state, v0, past))


@DTYPES
@pytest.mark.parametrize("centered", (False, True))
def test_norm_heads(centered: bool, dtype: Any) -> None:
    qkv, vectors = random(2, 3, 5 * 7, dtype=dtype), [random(7, dtype=dtype) for _ in range(4)]
    given = vectors if centered else vectors[:2]
    name = "NormHeads:centered" if centered else "NormHeads"
    y = call(name, qkv, *given, heads=3, kv_heads=1, eps=1e-3)
    q, k, v = np.split(qkv.reshape(2, 3, 5, 7), [3, 4], axis=2)
    if centered:
        parts = (layer_norm(x, vectors[i], vectors[i + 2], 1e-3) for i, x in enumerate((q, k)))
    else:
        parts = (norm(x, vectors[i], 1e-3) for i, x in enumerate((q, k)))
    close(y, np.concatenate([*parts, v], axis=2).reshape(2, 3, 35))


@DTYPES
def test_norm_heads_as_one(dtype: Any) -> None:
    qkv, gammas = random(2, 3, 7 * 7, dtype=dtype), [random(n * 7, dtype=dtype) for n in (3, 2)]
    y = call("NormHeads:whole", qkv, *gammas, heads=3, kv_heads=2, eps=1e-3)
    q, k, v = np.split(qkv, [3 * 7, 5 * 7], axis=2)
    close(y, np.concatenate([norm(q, gammas[0], 1e-3), norm(k, gammas[1], 1e-3), v], axis=2))


@DTYPES
def test_split_kv_write(dtype: Any) -> None:
    qkv = random(2, 5, 4 * 6, dtype=dtype)
    k_state, v_state = (random(2, 1, 9, 6, dtype=dtype) for _ in range(2))
    inputs = (qkv, k_state, v_state, count(3))
    q, k_out, v_out = call("SplitKvWrite", *inputs, outputs=3, heads=2, kv_heads=1)
    q0, k0, v0 = np.split(qkv.reshape(2, 5, 4, 6), [2, 3], axis=2)
    expected = q0, kv_write(k_state, k0, 3), kv_write(v_state, v0, 3)
    assert all(np.array_equal(a, b) for a, b in zip((q, k_out, v_out), expected, strict=True))


@DTYPES
@pytest.mark.parametrize("biased", (False, True))
@pytest.mark.parametrize("T", (1, 3))
def test_experts(T: int, biased: bool, dtype: Any) -> None:
    """Indices -1 and 4 are no experts'."""
    x, weight, bias = random(2, 6, T, 5, dtype=dtype), random(5, 28, dtype=dtype), random(4, 7)
    indices = RANDOM.integers(-1, 5, (2, 6, 3))
    inputs = (x, weight, indices, *([bias.astype(dtype)] if biased else []))
    y = call("Experts:bias" if biased else "Experts", *inputs, experts=4)
    matrices = np.moveaxis(weight.astype(np.float64).reshape(5, 4, 7), 1, 0)
    known = (indices >= 0) & (indices < 4)
    chosen = np.where(known, indices, 0)
    rows = np.broadcast_to(x.astype(np.float64), (2, 6, 3, 5))
    expected = np.einsum("bstk,bstkn->bstn", rows, matrices[chosen])
    expected += bias.astype(dtype)[chosen] if biased else 0
    np.testing.assert_allclose(y, expected * known[..., None], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_group_topk(dtype: Any) -> None:
    """Twelve scores in three groups, which count the sum of their two greatest."""
    x = random(2, 5, 12, dtype=dtype)
    settings: dict[str, Any] = {"groups": 3, "best": 2, "kept": 2, "fill": -3.0, "k": 7}
    values, indices = call("GroupTopK", x, outputs=2, dtype=(dtype, np.int64), **settings)
    by_group = x.astype(np.float64).reshape(2, 5, 3, 4)
    counts = np.sort(by_group, axis=-1)[..., -2:].sum(-1)
    worst = np.arange(3) == counts.argmin(-1)[..., None]
    left = np.where(worst[..., None], -3.0, by_group).reshape(2, 5, 12)
    np.testing.assert_array_equal(indices, np.argsort(-left, axis=-1, kind="stable")[..., :7])
    np.testing.assert_array_equal(values, np.take_along_axis(left, indices, -1).astype(dtype))


def test_split_heads() -> None:
    x = random(2, 3, 5 * 4)
    parts = call("SplitHeads", x, outputs=3, heads=3, kv_heads=1)
    expected = np.split(x.reshape(2, 3, 5, 4), [3, 4], axis=2)
    assert all(np.array_equal(a, b) for a, b in zip(parts, expected, strict=True))


def test_every_op_was_called() -> None:
    names = {(function.name, function.overload) for function in definitions()}
    assert names == CALLED
