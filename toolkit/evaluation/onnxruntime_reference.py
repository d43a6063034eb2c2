"""The oracle of an evaluation: ONNX Runtime on the exporter's file, or why it can't run that."""

from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import Source
from toolkit.onnx_runtime import Refused


def original_or_why(source: Source) -> tuple[Reference | None, str | None]:
    """The exporter's file, or why ONNX Runtime refuses it; some ops are refused only in a run."""
    try:
        original = Reference.original(source)
        original.feed([0, 0])
        original.feed([0])
    except Refused as error:
        return None, str(error)
    original.reset()
    return original, None
