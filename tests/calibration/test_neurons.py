"""A network's kind is what its activation computes; numpy computes what the kernels' twin does."""

from __future__ import annotations

import pytest

from opencl_kernels.records.neurons import activation
from toolkit.compiler.budget.ffn_kind import GATED, _kind
from toolkit.offload.legality import LEGALITY

GELU_TANH = "0.5 * v * (1.0 + Tanh(0.7978845608 * (v + 0.044715 * v * v * v)))"


@pytest.mark.parametrize(
    "text, kind",
    [
        ("Relu(v)", "relu"),
        ("Max(v, 0.0)", "relu"),
        ("Relu(v) * Relu(v)", "sqrelu"),
        ("v * Sigmoid(v)", "silu"),
        ("v / (1.0 + Exp(-1.0 * v))", "silu"),
        ("0.5 * v * (1.0 + Erf(v * 0.70710678))", "gelu"),
        (GELU_TANH, "gelu"),
        ("Where(v > 0.3, v, 0.0)", "relu"),
        ("v * Sigmoid(1.702 * v)", "silu"),
    ],
)
def test_a_kind_is_what_is_computed(text: str, kind: str) -> None:
    assert _kind(activation(text)) == kind


def test_every_kind_has_a_row_of_legal_selectors() -> None:
    assert {*GATED.values(), "relu", "sqrelu", "silu", "gelu", "drelu"} <= set(LEGALITY)
