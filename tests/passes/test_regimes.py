"""Tables that the length of a text chooses, and what else depends on it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from long_texts import EDGE, FREQUENCIES, TWO_TABLES, long_decoder
from pass_helpers import noted, op_types, run, text
from tiny_decoder import decoder_text, feeds, tiny

import onnx_passes
from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.analysis.tables.regimes import regimes
from onnx_passes.ir.graph import TEXT_LENGTH
from onnx_passes.ir.rules import Miss

CONTEXT = 32


def rewritten(model: ir.Model, context: int = CONTEXT) -> ir.Model:
    for _ in onnx_passes.rewrite(noted(model, context, 8)):
        pass
    return model


@pytest.mark.parametrize("name", FREQUENCIES)
def test_texts_on_both_sides_say_the_same(name: str) -> None:
    original, model = text(long_decoder(name)), rewritten(text(long_decoder(name)))
    for seq, past in ((EDGE - 1, 0), (EDGE, 0), (EDGE + 1, 0), (1, EDGE - 1), (1, EDGE), (9, 20)):
        given = feeds(seq, past)
        (expected, *_), (actual, *_) = run(original, given), run(model, given)
        np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", FREQUENCIES)
def test_the_first_tokens_of_a_long_text_are_as_in_all_of_it(name: str) -> None:
    """Where the length is known, a text that is fed in pieces is as one that is fed at once."""
    original, model = text(long_decoder(name)), rewritten(text(long_decoder(name)))
    whole = feeds(EDGE + 5)
    first = {**feeds(4), "input_ids": whole["input_ids"][:, :4]}
    expected = run(original, whole)[0][:, :4]
    (actual, *_) = run(model, {**first, TEXT_LENGTH: np.array([EDGE + 5])})
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", TWO_TABLES)
def test_angles_are_tables_on_either_side(name: str) -> None:
    model = rewritten(text(long_decoder(name)))
    ops = op_types(model)
    assert ops.count("Rope") == 2 and not {"If", "Cos", "Sin"} & set(ops)
    assert TEXT_LENGTH in {value.name for value in model.graph.inputs}
    tables = [v.const_value for n, v in model.graph.initializers.items() if n.startswith("rotary")]
    assert [t.shape.numpy() for t in tables if t is not None] == [(CONTEXT, 4)] * 4


@pytest.mark.parametrize("name", TWO_TABLES)
def test_a_context_that_no_long_text_fits_into_has_one_pair(name: str) -> None:
    model = rewritten(text(long_decoder(name)), EDGE)
    assert TEXT_LENGTH not in {value.name for value in model.graph.inputs}
    assert len([name for name in model.graph.initializers if name.startswith("rotary")]) == 2


def test_an_ordinary_decoder_has_no_length() -> None:
    assert TEXT_LENGTH not in {value.name for value in rewritten(tiny()).graph.inputs}


@pytest.mark.parametrize("switch", [0, 2, 3, 19, 31, 32])
def test_the_longest_text_of_the_first_table_is_found(switch: int) -> None:
    def rows(seq: int, past: int, padding: int) -> np.ndarray:
        at = np.arange(past, past + seq)[:, None] - padding
        return at * np.array([1.0, 2.0]) * (1 if past + seq <= switch else 3)

    found = regimes(rows, CONTEXT, [(3, 5, 0), (4, 6, 2)])
    assert found.switch == switch % CONTEXT
    assert np.array_equal(found.long, rows(CONTEXT, 0, 0))
    short = rows(found.switch, 0, 0) if found.switch else found.long
    assert np.array_equal(found.short[: len(short)], short) and found.short.shape == (CONTEXT, 2)


@pytest.mark.parametrize(
    "factor",
    [lambda total, _: total, lambda total, _: 1 + total // 11, lambda total, pad: total - pad > 12],
    ids=["each length", "three tables", "the length without padding"],
)
def test_more_than_that_is_no_table(factor: Callable[[int, int], int]) -> None:
    def rows(seq: int, past: int, padding: int) -> np.ndarray:
        at = np.arange(past, past + seq)[:, None] - padding
        return (at + 1.0) * (1 + factor(past + seq, padding))

    with pytest.raises(Miss, match="by one switch between two tables"):
        regimes(rows, CONTEXT, [(3, 5, 0), (4, 6, 2)])


def test_evaluating_a_piece_in_double_precision_leaves_the_model_as_it_is() -> None:
    model = tiny()
    onnx_passes.intake(model)
    before = {v.name: v.dtype for v in model.graph.initializers.values()}
    angles = next(node.outputs[0] for node in model.graph if node.op_type == "Cos")
    (found,) = Subgraph(model, [angles], double=True).run(3, 0)
    assert found.dtype == np.float64
    assert {v.name: v.dtype for v in model.graph.initializers.values()} == before


def test_places_are_counted_by_what_is_fed_whatever_the_text_will_be() -> None:
    """A mask that computes with the number of tokens as a float."""
    source = (
        decoder_text()
        .replace(
            "causal = LessOrEqual(cols, at)",
            "tf = Cast<to = 1>(total)  sf = Cast<to = 1>(seq)  bf = Sub(tf, sf)"
            "  xf = Cast<to = 1>(index)  af0 = Add(xf, bf)  af = Unsqueeze(af0, v1)"
            "  cf = Cast<to = 1>(cols)"
            "  d = Sub(cf, af)  slope = Mul(d, d)  causal = LessOrEqual(cf, af)",
        )
        .replace("a2 = Add(a1, bias)", "a1b = Sub(a1, slope)  a2 = Add(a1b, bias)")
    )
    original, model = text(source), rewritten(text(source))
    given = feeds(7)
    (expected, *_) = run(original, given)
    (actual, *_) = run(model, {**given, TEXT_LENGTH: np.array([20])})
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)
