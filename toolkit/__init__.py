"""PocketCL's product layer: `compile` a model to a plan, run it in a `Session`.

import toolkit
plan = toolkit.compile("model.onnx", device="pocl")
session = toolkit.Session(plan)
for token in session.generate("Once upon a time", max_new_tokens=16): ...
print(session.decode(session.history))
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.version import __version__

if TYPE_CHECKING:
    from toolkit.compiler.report import CompileReport
    from toolkit.executors.sampling import Sampling
    from toolkit.generation.batch_session import BatchSession
    from toolkit.generation.session import Session

__all__ = ["BatchSession", "Sampling", "Session", "__version__", "compile"]


def compile(src: str | Path, out: str | Path | None = None, **options: Any) -> "CompileReport":
    """Compile an .onnx file or an exporter's folder; options are those of `pocketcl compile`.

    out  the plan's folder; by default NAME.plan here, named after the model's folder or file
    """
    from toolkit.arguments import path_of
    from toolkit.compiler.pipeline import compile as run
    from toolkit.compiler.source import load_source

    plan = None if out is None else path_of(out, "a folder for the plan", '"llama.plan"')
    source = path_of(src, "a model", 'toolkit.compile("llama/")')
    lora = options.pop("lora", None)
    return run(load_source(source, None if lora is None else Path(lora)), plan, **options)


def __getattr__(name: str) -> Any:
    """Import classes on first use: `import toolkit` must be quick."""
    if name == "Sampling":
        from toolkit.executors.sampling import Sampling

        return Sampling
    if name == "BatchSession":
        from toolkit.generation.batch_session import BatchSession

        return BatchSession
    if name == "Session":
        from toolkit.generation.session import Session

        return Session
    raise AttributeError(f"module 'toolkit' has no attribute '{name}'")
