"""The options of a compile: sizes and storage types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_passes import Facts
from opencl_kernels.device_class import CLASSES
from opencl_kernels.formats import GROUPS
from toolkit.arguments import real, whole
from toolkit.compiler.budget.goal import check_goal
from toolkit.compiler.budget.sparsity import AUTO, check_thinned, check_wish, density_of
from toolkit.compiler.calibrated import check_calibration, loss_of, of_auto, pruned_of
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.plan.amount import check_memory
from toolkit.plan.origin import readable
from toolkit.plan.reader import decode
from toolkit.plan.schema import Plan

FLOATS = ("f32", "f16")
WEIGHTS = ("source", "f32", "f16", "e0m4")


@dataclass(frozen=True)
class Options:
    """Everything that a plan depends on besides its model and device; kept in the plan."""

    context: int
    chunk: int
    weights: str  # one of WEIGHTS
    activations: str
    kv: str
    batch: int = Facts.batch
    group: int = Facts.group
    symmetric: bool = Facts.symmetric
    keep: tuple[str, ...] = Facts.keep
    memory: str | None = None  # that a plan may take, as it was typed: what has no room is in flash
    calibration: str | None = None  # the folder of predictors of what is in flash
    recall: float | None = None  # that they are used at
    calibrated: str | None = None  # the calibration's identity: it may be made anew since
    rate: float | None = None  # tokens a second, instead of `memory`: the least that gives them
    flash: str | None = None  # that is planned for; None: the device's
    sparsity: str | None = None  # by what neurons are chosen; None: by what is legal and best
    policy: str | None = None  # of caches; None: as it is planned
    density: float | None = None  # share of a network that DIP computes
    gamma: float | None = None  # what magnitudes count of what isn't in memory, for DIP-CA
    refit: bool | None = None  # whether last matrices are refitted to what DIP computes
    max_loss: float | None = None  # of perplexity, that these may cost by the calibration

    @property
    def told(self) -> dict[str, Any]:
        """As a plan keeps them."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def budgeted(self) -> bool:
        """Whether weights may lie in flash."""
        return self.memory is not None or self.rate is not None

    @property
    def open(self) -> bool:
        """Whether a calibration has points of DIP, of which one is to be taken yet."""
        aware = self.sparsity == "dip-ca"
        of_dip = self.sparsity in BY_MAGNITUDE and self.calibration is not None
        return of_dip and (self.density is None or (aware and self.gamma is None))

    @property
    def storage(self) -> str | None:
        """The type of every matrix; None if each keeps its own type, or is quantised."""
        return self.weights if self.weights in ("f32", "f16") else None

    @property
    def facts(self) -> Facts:
        """The options that passes need."""
        density = None
        if self.budgeted and not self.open:
            density = density_of(self.sparsity, self.density, self.gamma, self.policy)
        return Facts(
            densities=() if density is None else (density,),
            context=self.context,
            chunk=self.chunk,
            batch=self.batch,
            weights=self.weights,
            group=self.group,
            symmetric=self.symmetric,
            keep=self.keep,
            records=self.budgeted,
        )


def choose(
    source: Source,
    profile: Mapping[str, Any],
    weights: str = Facts.weights,
    max_context: int | None = None,
    prefill_chunk: int | None = None,
    activations: str | None = None,
    kv: str | None = None,
    batch: int = Facts.batch,
    group: int | None = None,
    symmetric: bool = Facts.symmetric,
    keep: Sequence[str] = Facts.keep,
    memory: str | None = None,
    calibration: Path | str | None = None,
    max_loss: str | float | None = None,
    rate: float | None = None,
    flash: str | None = None,
    sparsity: str | None = None,
    policy: str | None = None,
    density: float | None = None,
    gamma: float | None = None,
) -> Options:
    """The options of a compile; None takes the default for this model and device class."""
    # check what was given, each by itself and together
    counts = {"max_context": max_context, "prefill_chunk": prefill_chunk, "batch": batch}
    for name, value in counts.items():
        if value is not None:
            whole(name, value)
    density = None if density is None else real("density", density)
    gamma = None if gamma is None else real("gamma", gamma)
    keep = tuple(keep) if isinstance(keep, list | tuple) else (str(keep),)
    check_weights(weights, group, symmetric, keep)
    _check_types(activations=activations, kv=kv)
    # take the rest from the model and the device class
    context = _context(source, max_context)
    usual = CLASSES[profile["class"]]
    chunk = min(prefill_chunk or usual.chunk, context)
    check_goal(memory, rate, flash, calibration)
    budgeted = memory is not None or rate is not None
    check_wish(sparsity, policy, budgeted, calibration is not None, batch)
    sparsity = None if sparsity == AUTO else sparsity
    folder, recall, identity = check_calibration(
        source, budgeted, calibration, max_loss, batch, sparsity
    )
    most = loss_of(max_loss) if folder is not None else None
    points = [] if most is None else pruned_of(folder, sparsity, density, gamma, most)
    if points:  # which of them it is to be is known once the model is lowered
        check_thinned(sparsity, policy)
    else:
        density_of(sparsity, density, gamma, policy)
    return Options(
        context=context,
        chunk=chunk,
        weights=weights,
        activations=activations or usual.activations,
        kv=kv or usual.kv,
        batch=batch,
        group=group or Facts.group,
        symmetric=symmetric,
        keep=keep,
        memory=None if memory is None else check_memory(str(memory)),
        calibration=folder,
        recall=recall,
        calibrated=identity,
        rate=None if rate is None else float(rate),
        flash=flash,
        sparsity=sparsity,
        policy=policy,
        density=density,
        gamma=gamma,
        max_loss=most if points or of_auto(folder, most or 0.0) else None,
    )


def check_weights(weights: str, group: int | None, symmetric: bool, keep: Sequence[str]) -> None:
    """Raise if these options of weights are invalid or don't go together."""
    # each by itself
    if weights not in WEIGHTS:
        raise PocketError(
            f"weights cannot be stored as {weights!r}",
            f"known: {', '.join(WEIGHTS)}",
            "choose e0m4",
        )
    if group is not None and group not in GROUPS:
        sizes = ", ".join(map(str, GROUPS))
        raise PocketError(
            f"--group {group} is not known", f"kernels know {sizes}", f"choose {Facts.group}"
        )
    # options that only e0m4 has
    given = {"--group": group is not None, "--symmetric": symmetric, "--keep": bool(keep)}
    if weights != "e0m4" and any(given.values()):
        raise PocketError(
            f"{next(k for k in given if given[k])} has no meaning with --weights {weights}",
            "it is an option of quantising",
            "add --weights e0m4",
        )
    # rules of --keep
    for rule in keep:
        pattern, _, dtype = str(rule).rpartition("=")
        if not pattern or dtype not in ("f16", "f32"):
            raise PocketError(
                f"--keep {rule} is no rule",
                "a rule is PATTERN=f16 or PATTERN=f32",
                "write it as --keep lm_head=f16 or --keep '*down_proj*=f32'",
            )


def _check_types(**chosen: str | None) -> None:
    for name, dtype in chosen.items():
        if dtype not in (None, "f32", "f16"):
            because = "known: f32, f16"
            raise PocketError(f"{name} cannot be stored as {dtype!r:.60}", because, "choose f16")


def _context(source: Source, wanted: int | None) -> int:
    limit = source.generation.get("max_context")
    if wanted is not None and limit is not None and wanted > limit:
        raise PocketError(
            f"a context of {wanted} tokens is more than this model has",
            f"its own limit is {limit}",
            f"choose --max-context {limit} or less",
        )
    return wanted or min(limit or Facts.context, Facts.context)


def options_of(plan: Plan) -> Options:
    """The options a plan was compiled with; raises if plan.json has options that are invalid."""
    with readable("options"):
        found: Options = decode(Options, plan.model.get("options"), "model.options")
        check_weights(found.weights, None, False, found.keep)
        types = (found.activations, found.kv)
        sizes = (found.context, found.chunk, found.batch)
        if set(types) - set(FLOATS) or min(sizes) < 1 or found.group not in GROUPS:
            raise PocketError("model.options", f"no compile takes {vars(found)}")
        return found
