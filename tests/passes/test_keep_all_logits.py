"""An input that counts the wanted rows of logits goes: it is 0, which means all."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text, feeds, tiny

import onnx_passes
from onnx_passes.keep_all_logits import keep_all_logits


def counting(kind: str = "int64", name: str = "num_logits_to_keep") -> ir.Model:
    """The tiny decoder with such an input, as transformers writes it."""
    kept = f"n0 = Neg({name})  n4 = Reshape(n0, minus)  zk = Slice(z, n4, end, v1)"
    source = decoder_text().replace("logits = MatMul(z,", f"{kept}  logits = MatMul(zk,")
    source = source.replace("int64[B, S] input_ids,", f"int64[B, S] input_ids, {kind} {name},")
    return noted(text(source), context=32, chunk=8)


@pytest.mark.parametrize("kind", ["int64", "int64[1]"])
@pytest.mark.parametrize("name", ["num_logits_to_keep", "logits_to_keep"])
def test_all_rows_are_kept(kind: str, name: str) -> None:
    given, model = feeds(5), counting(kind, name)
    count = np.zeros([1] if "[" in kind else [], np.int64)
    expected, *_ = run(model, {**given, name: count})
    assert keep_all_logits(model).rewrites == 1
    actual, *_ = run(model, given)
    np.testing.assert_array_equal(actual, expected)


def test_nothing_is_left_of_it() -> None:
    forms = []
    for model in (tiny(), counting()):
        for _ in onnx_passes.rewrite(model):
            pass
        forms.append([node.op_type for node in model.graph])
    assert forms[0] == forms[1]


def test_another_input_of_that_name_is_left_alone() -> None:
    assert keep_all_logits(counting("int64[B, S]")).rewrites == 0
    assert keep_all_logits(tiny()).rewrites == 0
