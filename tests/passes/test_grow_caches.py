"""Caches of a fixed size grow; what writes into them otherwise than as a cache is left alone."""

import pytest
from any_decoder import CONTEXT, decoder
from pass_helpers import missed, noted, text

import onnx_passes
from onnx_passes.analysis.roles import roles_of
from onnx_passes.grow_caches import grow_caches

SPELLINGS = ("written caches", "written caches of merged heads")


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_place_and_the_number_of_tokens_are_counted(name: str) -> None:
    model = noted(text(decoder(name)), CONTEXT)
    onnx_passes.intake(model)
    roles = roles_of(model)
    assert (roles.written, roles.lengths) == ("at", "count")
    assert not {"at", "count"} & {value.name for value in model.graph.inputs}


@pytest.mark.parametrize("name", SPELLINGS)
def test_attention_reads_the_state_in_place(name: str) -> None:
    model = noted(text(decoder(name)), CONTEXT)
    for _ in onnx_passes.rewrite(model):
        pass
    ops = [node.op_type for node in model.graph]
    assert "Attention" in ops and "KvRead" not in ops
    states = [v.shape for v in model.graph.inputs if (v.name or "").startswith("state.")]
    assert states == [[1, 2, CONTEXT, 8]] * 2


@pytest.mark.parametrize(
    "change, reason",
    [
        (("TensorScatter(cache_k, kr, at)", 'TensorScatter<mode = "circular">(cache_k, kr, at)'),
         "in a circle"),
        (("TensorScatter(cache_k, kr, at)", "TensorScatter(cache_k, kr)"), "elsewhere"),
        (("new_k = TensorScatter(cache_k, kr, at)",
          "at1 = Add(at, i1)  new_k = TensorScatter(cache_k, kr, at1)"), "elsewhere"),
        (("o = MatMul(o2, wo)", "ok = ReduceMax(cache_k)  om = MatMul(o2, wo)  o = Add(om, ok)"),
         "read elsewhere"),
    ],
)  # fmt: skip
def test_what_else_is_written_stays(change: tuple[str, str], reason: str) -> None:
    source = decoder(SPELLINGS[0])
    assert change[0] in source
    source = source.replace(*change)
    model = noted(text(source), CONTEXT)
    onnx_passes.intake(model)
    count, reasons = missed(grow_caches, model)
    assert count == 1 and reason in reasons[0]


@pytest.mark.parametrize("count, misses", [("all = Add(at, us)", 0), ("all = Add(at, v1)", 1)])
def test_the_number_of_tokens_may_be_computed(count: str, misses: int) -> None:
    source = decoder(SPELLINGS[0]).replace("real, , , count)", "real, , , all)")
    model = noted(text(source.replace("o0 = Attention", f"{count}  o0 = Attention")), CONTEXT)
    reasons = {miss.reason for miss in onnx_passes.why(model, "attention_caches")}
    assert len(reasons) == misses
    assert reasons <= {"nonpad_kv_seqlen does not count the tokens of a cache"}
