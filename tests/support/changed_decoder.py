"""The tiny decoder with pieces of its text replaced, compiled and held against ONNX Runtime."""

from pathlib import Path
from typing import Any

import onnx_ir as ir
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.report import CompileReport
from toolkit.evaluation.verify import verify

Changes = tuple[tuple[str, str], ...]
EMBEDDED = "h = Gather(table, input_ids)"
DOWN = "down = MatMul(mix, wd)"
CONSTANTS = "float scale = {0.3535534}"


def compiled(
    folder: Path, *changes: tuple[str, str], constants: str = "", opset: str = "18", **options: Any
) -> CompileReport:
    """The tiny decoder with pieces of its text replaced, as a plan."""
    source = decoder_text(opset=opset)
    for old, new in ((CONSTANTS, CONSTANTS + constants), *changes):
        assert old in source
        source = source.replace(old, new)
    ir.save(text(source), folder / "model.onnx")
    sizes = {"max_context": 32, "prefill_chunk": 8}
    return toolkit.compile(folder / "model.onnx", folder / "m.plan", **sizes, **options)


def check(done: CompileReport) -> None:
    report = verify(done.path, on="host")
    assert report["ok"] and report["greedy_match"], report
    assert all(case["nmse"] < 1e-9 for case in report["original"]), report


def decode_kernels(done: CompileReport) -> list[tuple[str, dict[str, Any]]]:
    """Kernel and case of every dispatch of a token, after its embedding."""
    decode = next(phase for phase in done.plan.phases if phase.name == "decode")
    programs = [done.plan.programs[step.variants[0].program] for step in decode.dispatches()]
    assert programs[0].kernel == "embed"
    return [(program.kernel, dict(program.case or {})) for program in programs[1:]]
