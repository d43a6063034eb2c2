"""How many dispatches a token takes in decoders of other families than Llama's."""

from pathlib import Path

import pytest
from exports import COLLECTION

import toolkit

AROUND = 4  # the embedding and what scales it, the logits, the choice of a token
MOST: dict[str, int | tuple[int, ...]] = {  # a layer, or each of them
    "arcee/optimum": 6,  # squared ReLU without a gate
    "granite4/granite4_attn-genai-int4": 6,  # scaled residuals
    "vaultgemma/dynamo": 6,  # GeGLU, logits under a cap
    "apertus/dynamo": 6,  # norms of heads, an activation of its own
    "mpt/optimum": 6,  # LayerNorm, GELU by erf, ALiBi
    "persimmon/dynamo": 6,  # LayerNorm with biases, also of heads
    "gpt_bigcode/optimum": 6,  # learned positions, GELU by tanh
    "cohere2/dynamo": 6,  # attention beside the FFN, LayerNorm spelled out
    "gpt_oss/genai-fp32": 8,  # experts with biases, a unit of their own, gates by a softmax of four
    "gpt_oss/optimum": 8,  # the same with gates and ups that alternate, and sinks as a column
    "glm4_moe/dynamo": (6, 8),  # a dense layer, then experts of groups beside a shared one
    "deepseek_v3/optimum": (7, 9),  # the same with queries, keys and values of low rank
    "olmoe/mobius-default": 8,  # norms of all heads together, experts
    "exaone4/dynamo": 6,  # norms of what is added
}


@pytest.mark.parametrize("name", MOST)
def test_dispatches_of_a_layer(name: str, tmp_path: Path) -> None:
    source = COLLECTION / "more/decoders" / name
    if not source.exists():
        pytest.skip(f"{source} is not here")
    report = toolkit.compile(source, tmp_path / "x.plan", device="pocl", max_context=64)
    count, layers = report.figures["dispatches"]["decode"], int(report.plan.model["layers"])
    most = MOST[name]
    each = most if isinstance(most, tuple) else (most,) * layers
    assert len(each) == layers and count <= AROUND + sum(each)
