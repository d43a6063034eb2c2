"""Which selector may be used with which kind of feed-forward network, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import PocketError


@dataclass(frozen=True)
class Verdict:
    """Whether an answer stays as it was.

    exact       it does, whatever the text
    calibrated  it changes by what a calibration has measured, and only with one
    warned      likewise, and something else would do better; never chosen by `auto`
    refused     the selector means nothing here
    """

    name: str
    reason: str = ""


EXACT, CALIBRATED = Verdict("exact"), Verdict("calibrated")
NO_GATE = Verdict("refused", "it has no gate")
NO_ZEROS = Verdict("refused", "its activations are never zero")
READS_MORE = Verdict("warned", "it reads 25 to 60 times more than lowrank")
UNIFORM = Verdict("warned", "densities were fitted for gated units: every stage has the same")
OTHER_LABELS = Verdict("warned", "no unit is zero: it learns the greatest, which dip knows exactly")
UNPREDICTED = Verdict("refused", "nothing says beforehand which of its units matter")
BY_ROUTER = Verdict("refused", "the router has chosen whole experts")
NO_ROUTER = Verdict("refused", "no router chooses among its units")

# cats: a gate above more than 0; ids: those of experts that a router chooses
SPARSITIES = ("all", "gate", "cats", "lowrank", "dip", "dip-ca", "ids")
OFFERED = ("all", "gate", "lowrank")  # of these, what is named instead of a refused one
BY_MAGNITUDE = ("dip", "dip-ca")  # what a density belongs to
RELU_GATED = (EXACT, EXACT, CALIBRATED, CALIBRATED, READS_MORE, READS_MORE, NO_ROUTER)
RELU = (EXACT, NO_GATE, NO_GATE, CALIBRATED, UNIFORM, UNIFORM, NO_ROUTER)
SMOOTH_GATED = (EXACT, NO_ZEROS, CALIBRATED, OTHER_LABELS, CALIBRATED, CALIBRATED, NO_ROUTER)
SMOOTH = (EXACT, NO_GATE, NO_GATE, UNPREDICTED, UNIFORM, UNIFORM, NO_ROUTER)

LEGALITY: dict[str, dict[str, Verdict]] = {  # kind of FFN -> selector -> verdict
    kind: dict(zip(SPARSITIES, row, strict=True))
    for kind, row in {
        "reglu": RELU_GATED,
        "drelu": RELU_GATED,
        "fatrelu": RELU_GATED,
        "relu": RELU,
        "sqrelu": RELU,
        "swiglu": SMOOTH_GATED,
        "geglu": SMOOTH_GATED,
        "gelu": SMOOTH,
        "silu": SMOOTH,
    }.items()
}


def verdict(kind: str, sparsity: str, experts: bool = False) -> Verdict:
    """Of a kind of FFN and a selector; raises KeyError where one of them is unknown.

    Experts are selected by their router, which is `all` of what they compute; inside of them a
    selector of neurons is as legal as for one FFN of their kind.
    """
    found = LEGALITY[kind][sparsity]
    if experts and sparsity == "ids":
        return EXACT
    return BY_ROUTER if experts and sparsity.startswith("dip") else found


def unasked(kind: str, experts: bool = False) -> str:
    """The selector without a calibration: what is exact and reads least."""
    if experts:
        return "ids"
    return "gate" if LEGALITY[kind]["gate"] is EXACT else "all"


def check(layer: str, kind: str, sparsity: str, experts: bool = False) -> Verdict:
    """What the verdict is of a layer's FFN; raises PocketError where it is refused."""
    found = verdict(kind, sparsity, experts)
    if found.name != "refused":
        return found
    because = f"{layer} is {kind}{' experts' if experts else ''}: {found.reason}"
    raise PocketError(f"--sparsity {sparsity} cannot be used", because, _instead(kind, experts))


def _instead(kind: str, experts: bool) -> str:
    """An option that is legal, and can be had: of a calibration where there is one."""
    for sparsity in () if experts else OFFERED[::-1]:
        if verdict(kind, sparsity, experts) is CALIBRATED:
            return f"--sparsity {sparsity} --calibration DIR"
    return f"--sparsity {unasked(kind, experts)}"
