"""A decoder of embeddings becomes one of tokens by the graph that looks them up."""

import numpy as np
import onnx_ir as ir
import pytest
from embedded_decoder import PICTURES, SPELLINGS, embedded, front
from pass_helpers import noted, run

import onnx_passes
from onnx_passes.embed_tokens import embed_tokens, pairs_of
from onnx_passes.ir.graph import GraphError

SEQ = 5


def joined(name: str) -> ir.Model:
    model = embedded(name)
    embed_tokens(model, front(name))
    return model


def feeds(ids: np.ndarray) -> dict[str, np.ndarray]:
    empty = np.zeros((1, 2, 0, 8), np.float32)
    return {
        **{"input_ids": ids, "cache_k": empty, "cache_v": empty},
        "attention_mask": np.ones((1, SEQ), np.int64),
        "position_ids": np.arange(SEQ)[None],
    }


@pytest.mark.parametrize("name", SPELLINGS)
def test_says_what_both_say_one_after_the_other(name: str) -> None:
    ids = np.random.default_rng(0).integers(0, 39, (1, SEQ))
    given = front(name)
    unused = np.ones((int(name == "pictures chosen"), 32), np.float32)
    values = run(given, {**feeds(ids), "image_features": unused})
    names = [output.name or "" for output in given.graph.outputs]
    embeddings = {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)}
    expected, *_ = run(embedded(name), {**feeds(ids), **embeddings})
    actual, *_ = run(joined(name), feeds(ids))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SPELLINGS)
def test_is_a_decoder_of_tokens(name: str) -> None:
    model = noted(joined(name))
    for _ in onnx_passes.rewrite(model):
        pass
    assert "input_ids" in {value.name for value in model.graph.inputs}
    assert not {"image_features", "inputs_embeds"} & {value.name for value in model.graph.inputs}


def test_outputs_are_taken_by_name_or_where_there_is_just_one() -> None:
    model, given = embedded(wanted="embeddings"), front("looked up")
    ((wanted, output),) = pairs_of(model, given)
    assert (wanted.name, output.name) == ("embeddings", "inputs_embeds")
    assert not pairs_of(embedded(wanted="hidden"), given)
    assert not pairs_of(model, embedded())


def test_names_that_both_have_stay_apart() -> None:
    model, given = embedded(), front("looked up")
    assert "table" in model.graph.initializers and "table" in given.graph.initializers
    embed_tokens(model, given)
    assert {"table", "table.1"} <= set(model.graph.initializers)


@pytest.mark.parametrize(
    "body, because",
    [
        ("e = Gather(table, input_ids)  inputs_embeds = Add(e, image_features)",
         "mixes them with something else"),
        ("inputs_embeds = Identity(image_features)", "image_features"),
    ],
)  # fmt: skip
def test_what_needs_more_than_a_text_is_refused(body: str, because: str) -> None:
    given = front("looked up", inputs=PICTURES.replace("N, 32", "B, S, 32"), body=body)
    with pytest.raises(GraphError) as caught:
        embed_tokens(embedded(), given)
    assert "not those of a text alone" in caught.value.what and because in caught.value.because
