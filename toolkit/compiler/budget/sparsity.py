"""What --sparsity and --policy ask of a plan; toolkit/offload/legality.py says what is legal."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_passes.analysis.experts.networks import ExpertNetwork
from onnx_passes.analysis.ffn import Ffn
from onnx_passes.ir.facts import Density
from toolkit.compiler.budget.ffn_kind import kind_of, kind_of_experts
from toolkit.compiler.weights.records import least_gate
from toolkit.errors import PocketError
from toolkit.offload.legality import BY_MAGNITUDE, CALIBRATED, check, unasked, verdict
from toolkit.plan.schema import POLICIES
from toolkit.progress import note_on_stderr

AUTO = "auto"
SPARSITIES = (AUTO, "all", "gate", "lowrank", *BY_MAGNITUDE, "ids")  # as they are typed
OF_EXPERTS = (None, AUTO, "all", "ids")  # of which whole experts are read, as routers choose them


def check_experts(networks: Sequence[ExpertNetwork], sparsity: str | None, others: bool) -> None:
    """Raise where a selector means nothing for a network of experts, or nobody has made it.

    others  there are networks without a router, which it is then meant for; experts take `ids`
    """
    for number, network in enumerate(networks if sparsity not in OF_EXPERTS and not others else ()):
        name, kind = f"experts {number}", kind_of_experts(network)
        check(name, kind, str(sparsity), experts=True)
        because = f"{name} is {kind} experts: they are read whole, as their router chooses them"
        raise PocketError(f"--sparsity {sparsity} cannot be used", because, "--sparsity ids")


def selectors_of(
    ffns: Sequence[Ffn],
    sparsity: str | None,
    predicted: Sequence[bool],
    experts: bool = False,
) -> tuple[str, ...]:
    """Of each network its selector. One line on stderr for each kind that is warned of.

    predicted  whether a calibration predicts its neurons, at a loss that may be
    experts    the model has some, which `ids` is meant for: of its other networks what is exact

    Raises PocketError where the selector means nothing for a network.
    """
    found, warned = list[str](), set[str]()
    for number, (ffn, known) in enumerate(zip(ffns, predicted, strict=True)):
        name, kind = f"layers.{number}.ffn", kind_of(ffn)
        if sparsity in (None, AUTO):
            found.append("lowrank" if known and _is_calibrated(kind) else unasked(kind))
            continue
        if sparsity == "ids" and experts:
            found.append(unasked(kind))
            continue
        cell = check(name, kind, str(sparsity))
        if cell.name == "warned" and kind not in warned:
            warned.add(kind)
            note_on_stderr(f"warning: --sparsity {sparsity}: {name} is {kind}: {cell.reason}")
        found.append(str(sparsity))
        _check_network(name, kind, str(sparsity), ffn, known)
    return tuple(found)


def check_wish(
    sparsity: str | None, policy: str | None, budgeted: bool, calibrated: bool, batch: int
) -> None:
    """Raise unless these options are known, and go with the others."""
    for option, given, known in (
        ("--sparsity", sparsity, SPARSITIES),
        ("--policy", policy, POLICIES),
    ):
        if given is not None and given not in known:
            because = f"there are {', '.join(known)}"
            raise PocketError(f"{option} {given!s:.40} is not known", because, "take one of these")
        if given is not None and not budgeted:
            because = "nothing is read from flash without it"
            raise PocketError(f"{option} goes with --memory", because, "add --memory 60%")
    if sparsity == "lowrank" and not calibrated:
        raise _uncalibrated("--sparsity lowrank", "a calibration has the predictors")
    if policy == "importance" and not calibrated:
        raise _uncalibrated("--policy importance", "a calibration tells how much a neuron adds")
    if sparsity in ("gate", "lowrank", *BY_MAGNITUDE) and batch > 1:
        because = "several texts need nearly all neurons between them: all are computed"
        raise PocketError(f"--sparsity {sparsity} does not go with --batch", because, "--batch 1")


def density_of(
    sparsity: str | None, density: float | None, gamma: float | None, policy: str | None
) -> Density | None:
    """What DIP computes of each network; None where something else chooses. Raises unless these
    options go together."""
    if sparsity not in BY_MAGNITUDE:
        for option, given in (("--density", density), ("--gamma", gamma)):
            if given is not None:
                because = "it says how much of what is greatest is computed"
                hint = f"add --sparsity {BY_MAGNITUDE[option == '--gamma']}"
                raise PocketError(f"{option} goes with --sparsity dip", because, hint)
        return None
    if density is None:
        because = "nothing else says how much of a network is to be computed"
        hint = "--density 0.7, or --calibration DIR (pocketcl calibrate MODEL --text FILE)"
        raise PocketError(f"--sparsity {sparsity} goes with --density", because, hint)
    if not 0 < density <= 1:
        because = "it is a share of a network's weights, more than 0"
        raise PocketError(f"--density {density:g} is none", because, "write --density 0.7")
    if (gamma is None) == (sparsity == "dip-ca"):
        because = "it says what magnitudes count of what isn't in memory; dip-ca goes by that"
        hint = "--gamma 0.2" if gamma is None else "--sparsity dip-ca, or leave --gamma out"
        raise PocketError("--gamma and --sparsity dip-ca go together", because, hint)
    if gamma is not None and not 0 <= gamma <= 1:
        because = "what isn't in memory counts at most as much as what is"
        raise PocketError(f"--gamma {gamma:g} is not from 0 to 1", because, "write --gamma 0.2")
    check_thinned(sparsity, policy)
    return Density(density, 1.0 if gamma is None else gamma)


def check_thinned(sparsity: str | None, policy: str | None) -> None:
    """Raise unless DIP's caches may be kept so."""
    if policy == "importance":
        because = "it is known of neurons, not of columns"
        hint = "leave it out, or --policy static"
        raise PocketError(f"--policy importance does not go with {sparsity}", because, hint)
    if sparsity == "dip-ca" and policy not in (None, "static"):
        because = "answers would depend on what has been asked before"
        raise PocketError("--sparsity dip-ca keeps to --policy static", because, "leave it out")


def _is_calibrated(kind: str) -> bool:
    return verdict(kind, "lowrank") is CALIBRATED


def _check_network(name: str, kind: str, sparsity: str, ffn: Ffn, predicted: bool) -> None:
    """What is legal for a kind, and can't be done for this network."""
    because = ""
    if sparsity == "gate" and least_gate(ffn.act) is None:
        because = f"{name} is {kind}, but its graph doesn't say so in a way that is known"
    if sparsity == "lowrank" and not predicted:
        because = f"the calibration predicts no neuron of {name}, which is {kind}"
    if because:
        hint = f"--sparsity {unasked(kind)}, or leave it out"
        raise PocketError(f"--sparsity {sparsity} cannot be used", because, hint)


def _uncalibrated(option: str, because: str) -> PocketError:
    hint = "add --calibration DIR (pocketcl calibrate MODEL --text FILE)"
    return PocketError(f"{option} goes with --calibration", because, hint)
