"""What a kernel touches is compared with what its arguments hold, whatever the symbols are."""

from typing import Any

import pytest

from opencl_kernels import Argument
from toolkit.compiler.lowering.fits import Extent, check_fit
from toolkit.errors import PocketError
from toolkit.plan.expr import symbol

SEQ, PAST = symbol("seq"), symbol("past")
BOX = {"seq": (1, 64), "past": (0, 1000)}


def fits(rows: Any, width: Any, held: Any, dtype: str = "f16") -> None:
    x = Argument("x", "f16", (rows, width), "in")
    check_fit("layers.0.qkv", (x,), {"x": Extent(dtype, held)}, BOX)


@pytest.mark.parametrize("held", [8 * SEQ, 8 * SEQ + PAST, SEQ * 2 * 4, 8 * 64])
def test_enough_for_every_size(held: Any) -> None:
    fits(SEQ, 8, held)


@pytest.mark.parametrize("held", [7 * SEQ, 8 * SEQ - 1, 8 * 63, 8 * PAST + 8])
def test_too_little_for_some_size(held: Any) -> None:
    with pytest.raises(PocketError, match=r"layers\.0\.qkv cannot be lowered") as refused:
        fits(SEQ, 8, held)
    assert "8*seq elements of x" in refused.value.because and "report" in refused.value.hint


def test_another_type() -> None:
    with pytest.raises(PocketError, match="reads x as f16, it is f32"):
        fits(1, 8, 8, "f32")


def test_more_elements_than_kernels_count() -> None:
    fits(SEQ, 2**25 - 1, SEQ * (2**25 - 1))
    with pytest.raises(PocketError, match=r"2,147,483,648 elements, kernels count to 2\^31"):
        fits(SEQ, 2**25, SEQ * 2**25)
