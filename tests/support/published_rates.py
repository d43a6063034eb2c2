"""README's table of published rates of phones beside those that `estimate` predicts.

    python tests/support/published_rates.py README.md      # writes the predictions anew; minutes

Predictions follow kernels and devices.yaml; a row in README.md that no longer does is told by
tests/estimate/test_published.py.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shaped_decoder import SHAPES, write_decoder

from toolkit.estimate.estimate import estimate

WEIGHTS = "e0m4"


@dataclass(frozen=True)
class Published:
    """What an engine was said to reach; the profile and the shape that it is predicted with."""

    phone: str
    engine: str
    model: str
    figures: str  # tokens/s, prefill / decode
    device: str
    shape: str

    @property
    def head(self) -> str:
        """The row up to the prediction."""
        return f"| {self.phone}, {self.engine}, {self.model} | {self.figures} |"


GEN_3 = ("8 Gen 3", "snapdragon-8-gen-3")
GEN_5 = ("8 Elite Gen 5", "snapdragon-8-elite-gen-5")
ROWS = tuple(
    Published(phone, engine, model, figures, device, shape)
    for (phone, device), engine, model, figures, shape in (
        (GEN_3, "Transformer-Lite", "Gemma 2B", "330 / 30", "gemma-2b"),
        (GEN_3, "Transformer-Lite", "ChatGLM2 6B", "121 / 14", "chatglm2-6b"),
        (GEN_3, "LiteRT-LM", "Gemma 3 1B", "1876 / 44.6", "gemma3-1b"),
        (GEN_3, "ExecuTorch Vulkan", "Llama 3.2 1B", "– / 49", "llama-3.2-1b"),
        (GEN_3, "llama.cpp OpenCL", "Qwen 2.5 1.5B", "239 / 27.3", "qwen2.5-1.5b"),
        (GEN_5, "MNN", "Qwen3 0.6B", "1285 / 60.7", "qwen3-0.6b"),
        (GEN_5, "ExecuTorch", "Qwen3 0.6B", "1568 / 98", "qwen3-0.6b"),
    )
)


def predicted(row: Published, folder: Path) -> str:
    """Tokens per second of prefill / decode, from a model of the row's shape in `folder`."""
    model = folder / row.shape
    if not model.exists():
        write_decoder(model, SHAPES[row.shape])
    found = estimate(model, row.device, weights=WEIGHTS)
    return f"{found['prefill_tokens_per_s']:,.0f} / {found['decode_tokens_per_s']:.1f}"


def renewed(text: str, folder: Path) -> Iterator[str]:
    """The lines of README.md, its predictions made anew."""
    rows = {row.head: row for row in ROWS}
    known: dict[tuple[str, str], str] = {}
    for line in text.splitlines():
        row = next((rows[head] for head in rows if line.startswith(head)), None)
        if row is None:
            yield line
        else:
            of = (row.shape, row.device)
            known[of] = known.get(of) or predicted(row, folder)
            yield f"{row.head} {known[of]} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as made:
        lines = [*renewed(path.read_text(encoding="utf-8"), Path(made)), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
