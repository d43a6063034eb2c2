"""Every kind of FFN with every selector runs, is warned about or is refused by name."""

import pytest

from toolkit.errors import PocketError
from toolkit.offload.legality import LEGALITY, SPARSITIES, check, unasked, verdict

GATED = {"reglu", "drelu", "fatrelu", "swiglu", "geglu"}
ZEROS = {"reglu", "drelu", "fatrelu", "relu", "sqrelu"}
CELLS = [(kind, by, many) for kind in LEGALITY for by in SPARSITIES for many in (False, True)]


def expected(kind: str, by: str, experts: bool) -> str:
    """The design's table, said by what the kinds have."""
    if by == "ids":
        return "exact" if experts else "refused"
    if by == "all":
        return "exact"
    if by.startswith("dip"):
        smooth_gated = kind in GATED - ZEROS
        return "refused" if experts else "calibrated" if smooth_gated else "warned"
    if by == "lowrank":
        return "calibrated" if kind in ZEROS else "warned" if kind in GATED else "refused"
    if kind not in GATED:
        return "refused"
    return "calibrated" if by == "cats" else "exact" if kind in ZEROS else "refused"


@pytest.mark.parametrize("kind, by, experts", CELLS)
def test_each_cell_is_as_designed_and_what_is_not_plain_has_a_reason(
    kind: str, by: str, experts: bool
) -> None:
    found = verdict(kind, by, experts)
    assert found.name == expected(kind, by, experts)
    assert bool(found.reason) == (found.name in ("warned", "refused"))
    if found.name != "refused":
        assert check("layers.0.mlp", kind, by, experts) is found
        return
    with pytest.raises(PocketError, match=f"--sparsity {by} cannot be used") as refused:
        check("layers.0.mlp", kind, by, experts)
    assert f"layers.0.mlp is {kind}" in str(refused.value.because)
    assert found.reason in str(refused.value.because)
    instead = refused.value.hint.split()[1]
    assert verdict(kind, instead, experts).name in ("exact", "calibrated")


@pytest.mark.parametrize("kind", LEGALITY)
def test_without_a_calibration_answers_stay(kind: str) -> None:
    assert verdict(kind, unasked(kind)).name == "exact"
    assert unasked(kind) == ("gate" if kind in GATED & ZEROS else "all")
    assert unasked(kind, experts=True) == "ids"
