"""What --sparsity and --policy ask of a plan; toolkit/offload/legality.py says what is legal."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_passes.analysis.ffn import Ffn
from toolkit.compiler.budget.ffn_kind import kind_of
from toolkit.compiler.weights.records import least_gate
from toolkit.errors import PocketError
from toolkit.offload.legality import CALIBRATED, LATER, check, unasked, verdict
from toolkit.plan.schema import POLICIES
from toolkit.progress import note_on_stderr

AUTO = "auto"
SPARSITIES = (AUTO, "all", "gate", "lowrank", *LATER)  # as they are typed


def selectors_of(
    ffns: Sequence[Ffn], sparsity: str | None, predicted: Sequence[bool]
) -> tuple[str, ...]:
    """Of each network: all, gate or lowrank. One line on stderr for each kind that is warned of.

    predicted  whether a calibration predicts its neurons, at a loss that may be

    Raises PocketError where the selector means nothing for a network, or isn't there yet.
    """
    found, warned = list[str](), set[str]()
    for number, (ffn, known) in enumerate(zip(ffns, predicted, strict=True)):
        name, kind = f"layers.{number}.ffn", kind_of(ffn)
        if sparsity in (None, AUTO):
            found.append("lowrank" if known and _is_calibrated(kind) else unasked(kind))
            continue
        cell = check(name, kind, str(sparsity))
        if cell.name == "warned" and kind not in warned:
            warned.add(kind)
            note_on_stderr(f"warning: --sparsity {sparsity}: {name} is {kind}: {cell.reason}")
        found.append(str(sparsity))
        _check_network(name, kind, str(sparsity), ffn, known)
    if sparsity in LATER:
        raise _later(str(sparsity))
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
    if sparsity in ("gate", "lowrank") and batch > 1:
        because = "several texts need nearly all neurons between them: all are computed"
        raise PocketError(f"--sparsity {sparsity} does not go with --batch", because, "--batch 1")


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


def _later(sparsity: str) -> PocketError:
    because = "it comes with records of channels, which this version does not write"
    return PocketError(f"--sparsity {sparsity} is not there yet", because, "leave --sparsity out")


def _uncalibrated(option: str, because: str) -> PocketError:
    hint = "add --calibration DIR (pocketcl calibrate MODEL --text FILE)"
    return PocketError(f"{option} goes with --calibration", because, hint)
