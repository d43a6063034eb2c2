"""Values of a model are measured: it reads a text in ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import dim
from toolkit.compiler.calibration.ids import calibration_ids
from toolkit.compiler.calibration.largest import LARGEST, give_largest
from toolkit.compiler.calibration.memory import check_room
from toolkit.compiler.calibration.ranges import Ranges
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import Source
from toolkit.onnx_runtime import Refused

TOKENS = 256  # of the text: what is large belongs to a few channels, the same ones in every text
AT_ONCE = 64  # of them in one run, so that logits of a large vocabulary take little memory
SKIP = "off"


def ranges_of(
    source: Source, rewritten: Callable[[], ir.Model], context: int, calibrate: Path | str | None
) -> Ranges:
    """Measure a model's values.

    rewritten  gives its graph after the passes, with weights as the source has them
    calibrate  a file of text, or `off`; None: a text of our own, where ONNX Runtime can run the
               model here
    """
    if str(calibrate) == SKIP:
        return Ranges(skipped="--calibrate off")
    file = None if calibrate is None else Path(calibrate)
    try:
        return _measured(source, rewritten(), min(TOKENS, context), file)
    except Refused as error:
        if file is not None:
            raise
        return Ranges(skipped=str(error))


def _measured(source: Source, model: ir.Model, count: int, file: Path | None) -> Ranges:
    check_room(model)
    logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
    ids, text = calibration_ids(source, file, dim(logits, -1) or 1, count)
    names = give_largest(model.graph)
    decoder = _Decoder.of(model)
    for first in range(0, len(ids), AT_ONCE):
        decoder.feed(ids[first : first + AT_ONCE])
    largest = dict(zip(names, decoder.largest.tolist(), strict=True))
    return Ranges(largest, f"{len(ids)} tokens of {text}")


class _Decoder(Reference):
    """A decoder that keeps the largest size of each value over all runs."""

    largest: npt.NDArray[np.float32] = np.zeros(1, np.float32)

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """All outputs."""
        values = super().run(feeds)
        self.largest = np.maximum(self.largest, values[self.outputs.index(LARGEST)])
        return values
