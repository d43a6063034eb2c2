"""The file beside a decoder that looks up the embeddings which the decoder takes."""

import re
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnx_passes.embed_tokens import pairs_of, takes_embeddings
from onnx_passes.ir.graph import rank
from toolkit.compiler.read_model import read_model
from toolkit.foreign.find_model import UNINFORMATIVE
from toolkit.foreign.kinds import Seen

_TOKENS = re.compile(r"input_ids|tokens|token_ids")
_NAMED = "embed"  # in the names of such files: embed_tokens.onnx, phi-3-v-text-embedding.onnx


def embedding_of(path: Path, model: ir.Model) -> Path | None:
    """The embedding of a decoder; None if it takes tokens itself, or nothing beside it fits."""
    inputs = {value.name: value for value in model.graph.inputs}
    if not takes_embeddings(model) or any(
        _TOKENS.fullmatch(name or "") and rank(value) == 2 for name, value in inputs.items()
    ):
        return None
    return next((file for file in _candidates(path) if pairs_of(model, read_model(file))), None)


def _candidates(path: Path) -> list[Path]:
    """Likely files: the one that genai_config.json names, those of the same precision, others."""
    named: Any = Seen(path.parent).settings("genai_config.json")
    for key in ("model", "embedding", "filename"):
        named = named.get(key) if isinstance(named, dict) else None
    generic = UNINFORMATIVE.match(path.stem)
    suffix = "" if generic is None else path.stem[generic.end() :]  # _q4 of decoder_model_merged_q4

    def unlikely(file: Path) -> tuple[bool, bool, int, str]:
        return file.name != named, not file.stem.endswith(suffix), len(file.name), file.name

    beside = (file for file in path.parent.glob("*.onnx") if file.name != path.name)
    fitting = (file for file in beside if file.name == named or _NAMED in file.name.lower())
    return sorted(fitting, key=unlikely)
