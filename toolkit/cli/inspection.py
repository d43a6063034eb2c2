"""What a model or a plan is made of, as lines of text and as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.foreign.find_model import find_model
from toolkit.plan.figures import figures, report
from toolkit.plan.inspection import plan_lines, plan_report
from toolkit.plan.load import is_plan, load_plan


def inspect(
    path: Path, view: str | None, name: str | None, progress: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Figures and lines of `pocketcl inspect PATH`; `view` is one of its flags, `name` a pass."""
    if is_plan(path):
        return _inspect_plan(path, view, name)
    if view == "memory":
        find_model(path)  # that there is none is said in place of this
        hint = f"pocketcl compile {path} -o m.plan, then pocketcl inspect m.plan --memory"
        raise PocketError(f"{path} is a model", "only a plan has a memory layout", hint)
    return _inspect_model(path, view, name, progress)


def _inspect_model(
    path: Path, view: str | None, name: str | None, progress: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    from toolkit.compiler import inspection as of_model  # slow to import

    progress("reading the model, running the passes")
    if name is not None:
        missed = of_model.why(path, name)
        return {"pass": name, "why": missed}, missed
    found = of_model.model_report(path)
    if view == "graph":
        return {"graph": found["graph"]}, list(of_model.graph_lines(found))
    if view == "unsupported":
        return {"unsupported": found["unsupported"]}, list(of_model.unsupported_lines(found))
    return found, list(of_model.model_lines(found))


def _inspect_plan(
    path: Path, view: str | None, name: str | None
) -> tuple[dict[str, Any], list[str]]:
    if name is not None or view in ("unsupported", "graph"):
        flag = "--why" if name is not None else f"--{view}"
        raise PocketError(
            f"{path} is a plan, but {flag} takes a model",
            "a plan has steps; the graph and the passes are the model's",
            f"pocketcl inspect MODEL {flag}{f' {name}' if name else ''}",
        )
    plan = load_plan(path)
    if view == "memory":
        return figures(plan), report(plan).splitlines()
    return plan_report(plan), list(plan_lines(plan))
