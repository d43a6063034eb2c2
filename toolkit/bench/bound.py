"""ONNX Runtime as its users run it fast: what a run gives is bound as the next one's input."""

from typing import Any

from toolkit.compiler.calibration.reference import Reference
from toolkit.onnx_runtime import run_bound


class Bound(Reference):
    """A decoder whose caches stay where ONNX Runtime put them; only logits become numpy's."""

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """All outputs; a cache that is written into needs room, which numpy makes."""
        if self.feeds.slots:
            return super().run(feeds)
        values: list[Any] = run_bound(self.session, feeds, self.outputs)
        logits = self.outputs.index(self.roles.logits)
        return [value.numpy() if i == logits else value for i, value in enumerate(values)]
