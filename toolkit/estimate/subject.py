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


def subject_of(
    path: Path, device: str | None, serial: str | None, tell: Tell, **chosen: Any
) -> Subject:
    """Load a plan, or lower a model for a device without writing anything.

    chosen  options of `compiler.options.choose`, for a model
    """
    if is_plan(path):
        return _of_plan(path, device, serial, chosen)
    return _of_model(path, device, serial, tell, chosen)


def _of_plan(path: Path, device: str | None, serial: str | None, chosen: dict[str, Any]) -> Subject:
    given = [name for name, value in chosen.items() if value not in (None, False, (), "source")]
    if given:
        raise PocketError(
            f"--{given[0].replace('_', '-')} goes with a model",
            f"{path} is a plan, whose sizes and storage are chosen",
            f"leave it out, or estimate the model: pocketcl estimate SRC --{given[0]} …",
        )
    plan = load_plan(path)
    own = str(plan.profile.get("name"))
    facts = _facts(device if device is not None else own, serial)
    if facts["class"] != plan.profile["class"]:
        raise PocketError(
            f"{path} is compiled for {own}, not for {facts['name']}",
            f"kernels of class {plan.profile['class']} don't run on one of class {facts['class']}",
            f"pocketcl estimate {noted(plan, 'path')} --device {facts['name']}",
        )
    return Subject(plan, facts, int(plan.model["max_context"]), True)


def _of_model(
    path: Path, device: str | None, serial: str | None, tell: Tell, chosen: dict[str, Any]
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
    return Subject(structure(source, profile, wide, progress=tell), facts, options.context, False)


def _facts(device: str, serial: str | None) -> Profile:
    """All that is known of a device, overruled by what the device itself reports."""
    profile = resolve_device(device, serial)
    return {**profiles()[profile["name"]], **profile}
