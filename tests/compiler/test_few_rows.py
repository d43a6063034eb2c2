"""Products of few rows: which kernels take them, and which of them begin with their norm."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import DEMO

import toolkit
from toolkit.plan.schema import Plan


def first_kernels(plan: Plan, phase: str) -> list[str]:
    """The first kernel of each dispatch of a phase."""
    found = next(each for each in plan.phases if each.name == phase)
    return [plan.programs[step.variants[0].program].kernel for step in found.dispatches()]


@pytest.mark.parametrize("weights", ["f16", "e0m4"])
def test_rows_of_a_batch_share_weights_on_gpus(weights: str, tmp_path: Path) -> None:
    """And have their norms before them, not in each work-group again."""
    one, three = (
        toolkit.compile(DEMO, tmp_path / str(batch), device="adreno", weights=weights, batch=batch)
        for batch in (1, 3)
    )
    alone, together = (first_kernels(plan, "decode") for plan in (one.plan, three.plan))
    kernel = "gemv_half" if weights == "e0m4" else "gemv"
    assert alone.count(kernel) == together.count(kernel) > 0
    assert not {"gemm", "rmsnorm"} & {*alone}
    assert "gemm" not in together
