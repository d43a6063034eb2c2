"""What is estimated: a plan as it lies there, or the one that a compile would make of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.compiler.options import Options, choose
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.estimate.flash.budgets import Budgets, of_model, of_plan
from toolkit.plan.load import is_plan, load_plan
from toolkit.plan.origin import noted
from toolkit.plan.schema import Plan

Tell = Callable[..., None]


@dataclass(frozen=True)
class Subject:
    """A plan and the profile of the device that it is to run on."""

    plan: Plan  # for the longest context
    facts: Profile
    context: int  # that a compile would choose
    is_plan: bool
    budgets: Budgets | None = None  # where weights lie in flash, or may


@dataclass(frozen=True)
class InFlash:
    """What is asked about weights in flash; `wanted`: whether anything is."""

    flash: str | None = None
    calibration: str | Path | None = None
    max_loss: str | float | None = None
    wanted: bool = False


def subject_of(
    path: Path,
    device: str | None,
    serial: str | None,
    tell: Tell,
    asked: InFlash = InFlash(),
    **chosen: Any,
) -> Subject:
    """Load a plan, or lower a model for a device without writing anything.

    chosen  options of `compiler.options.choose`, for a model
    """
    if is_plan(path):
        return _of_plan(path, device, serial, asked, chosen)
    return _of_model(path, device, serial, tell, asked, chosen)


def _of_plan(
    path: Path, device: str | None, serial: str | None, asked: InFlash, chosen: dict[str, Any]
) -> Subject:
    given = [name for name, value in chosen.items() if value not in (None, False, (), "source")]
    if given:
        raise PocketError(
            f"--{given[0].replace('_', '-')} goes with a model",
            f"{path} is a plan, whose sizes and storage are chosen",
            f"leave it out, or estimate the model: pocketcl estimate SRC --{given[0]} …",
        )
    if asked.max_loss is not None:
        because = f"{path} is a plan, whose predictors are chosen"
        hint = "leave it out, or estimate the model: pocketcl estimate SRC --max-loss 1%"
        raise PocketError("--max-loss goes with a model", because, hint)
    plan = load_plan(path)
    own = str(plan.profile.get("name"))
    facts = _facts(device if device is not None else own, serial)
    if facts["class"] != plan.profile["class"]:
        raise PocketError(
            f"{path} is compiled for {own}, not for {facts['name']}",
            f"kernels of class {plan.profile['class']} don't run on one of class {facts['class']}",
            f"pocketcl estimate {noted(plan, 'path')} --device {facts['name']}",
        )
    if asked.wanted and not plan.tables:
        because = "all weights of the plan lie in memory"
        hint = "estimate the model: pocketcl estimate SRC --calibration DIR"
        raise PocketError("nothing of this plan is read from flash", because, hint)
    budgets = None
    if plan.tables:
        budgets = of_plan(path, plan, facts, asked.flash, asked.calibration)
    return Subject(plan, facts, int(plan.model["max_context"]), True, budgets)


def _of_model(
    path: Path,
    device: str | None,
    serial: str | None,
    tell: Tell,
    asked: InFlash,
    chosen: dict[str, Any],
) -> Subject:
    from toolkit.compiler.pipeline import structure  # slow to import
    from toolkit.compiler.source import load_source

    profile = resolve_device(device, serial)
    facts = {**profiles()[profile["name"]], **profile}
    source = load_source(path)
    options: Options = choose(source, profile, **chosen)
    # rows of the report go up to the model's own limit, unless the user sets one
    longest = chosen.get("max_context") or source.generation.get("max_context")
    wide = choose(source, profile, **{**chosen, "max_context": longest or options.context})
    budgets = None
    if asked.wanted:
        budgets = _budgets(path, profile, facts, asked, chosen, tell)
    plan = structure(source, profile, wide, progress=tell)
    return Subject(plan, facts, options.context, False, budgets)


def _budgets(
    path: Path,
    profile: Profile,
    facts: Profile,
    asked: InFlash,
    chosen: dict[str, Any],
    tell: Tell,
) -> Budgets:
    """Of the model once more: its passes change it in place."""
    from toolkit.compiler.pipeline import flash_structure  # slow to import
    from toolkit.compiler.source import load_source

    source = load_source(path)
    known: dict[str, Any] = {"calibration": asked.calibration, "max_loss": asked.max_loss}
    planned = asked.flash if asked.calibration is not None else None
    options = choose(source, profile, **chosen, memory="100%", flash=planned, **known)
    return of_model(flash_structure(source, profile, options, tell), facts, asked.flash)


def _facts(device: str, serial: str | None) -> Profile:
    """All that is known of a device, overruled by what the device itself reports."""
    profile = resolve_device(device, serial)
    return {**profiles()[profile["name"]], **profile}
