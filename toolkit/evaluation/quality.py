"""The quantisation error of each weight, against its floats."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.matrices import Matrix, find_matrices
from onnx_passes.weights.quantized import QuantizedWeight, quantized
from opencl_kernels.formats import Array, dtype_bytes
from toolkit.errors import PocketError
from toolkit.plan.load import is_plan
from toolkit.tables import table

SIGMAS = 6  # a weight further from 0 than this many RMS values is an outlier
STEP = 1 << 20  # weights that are read at a time


def quality(
    path: Path,
    group: int | None = None,
    symmetric: bool = False,
    keep: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures per weight of a model as `--weights e0m4` would store it, or of a plan's model."""
    given = {"group": group, "symmetric": symmetric, "keep": keep}
    model = _of_plan(path, given) if is_plan(path) else _of_model(path, given)
    rows: list[dict[str, Any]] = []
    seen: dict[int, str] = {}
    for matrix in find_matrices(model):
        progress(f"quantising {matrix.value.name}")
        tensor, name = quantized(matrix.value), matrix.value.name or ""
        same = None if tensor is None else seen.setdefault(id(tensor.weight), name)
        rows.append(_row(matrix, None if same == name else same))
    return {"weights": rows, "total": _total(rows)}


def _of_plan(path: Path, given: dict[str, Any]) -> ir.Model:
    from toolkit.compiler.options import options_of
    from toolkit.compiler.rewriting.passes import rewritten_for
    from toolkit.evaluation.inputs import source_of
    from toolkit.plan.load import load_plan
    from toolkit.plan.origin import origin_of

    plan = load_plan(path)
    stored = options_of(plan).weights
    if any(given.values()):
        hint = f"inspect its model: pocketcl inspect {origin_of(plan).path} --quality …"
        because = "--group, --symmetric and --keep are options of the compile"
        raise PocketError(f"{path} is a plan", because, hint)
    if stored != "e0m4":
        raise PocketError(
            f"no weight of {path} was quantised by its compile",
            f"it was compiled with --weights {stored}",
            f"pocketcl inspect {origin_of(plan).path} --quality",
        )
    model: ir.Model = rewritten_for(source_of(plan, None), plan)
    return model


def _of_model(path: Path, given: dict[str, Any]) -> ir.Model:
    from toolkit.compiler.options import choose
    from toolkit.compiler.rewriting.passes import rewrite_with
    from toolkit.compiler.source import load_source

    source = load_source(path)
    options = choose(source, {"class": "cpu"}, "e0m4", **given)
    model: ir.Model = rewrite_with(source, options)
    return model


def _row(matrix: Matrix, same: str | None) -> dict[str, Any]:
    """One weight: its sizes and, if it is quantised here, its errors; `same`: an equal weight."""
    N, K = matrix.sizes
    names = {"name": matrix.value.name, "node": matrix.node.name, "same_as": same}
    row: dict[str, Any] = {**names, "N": N, "K": K}
    tensor = quantized(matrix.value)
    if tensor is None:
        assert matrix.value.dtype is not None
        return {**row, "bits": matrix.kept_bits or matrix.value.dtype.bitwidth, "group": None}
    weight = tensor.weight
    row |= {"bits": weight.bits, "group": weight.group, "bits_per_weight": _bits(weight)}
    return {**row, **measure(weight)} if weight.floats is not None and not same else row


def measure(weight: QuantizedWeight) -> dict[str, Any]:
    """Errors of a quantised weight: relative RMS, largest, worst group; its share of outliers."""
    # The RMS of the weights comes first: errors and outliers are relative to it.
    spans = list(_spans(weight))
    power = sum(float(np.square(_floats(weight, *s), dtype=np.float64).sum()) for s in spans)
    rms = math.sqrt(power / (weight.N * weight.K))
    parts = [_errors(weight, rms, *span) for span in spans]
    error = sum(part[0] for part in parts)
    worst = max(parts, key=lambda part: part[2])
    return {
        "rms_error": math.sqrt(error / power) if power else 0.0,
        "max_error": max(part[1] for part in parts),
        "worst_group": {"rms_error": worst[2] / rms if rms else 0.0, "row": worst[3][0]}
        | {"column": worst[3][1] * weight.group},
        "outliers": sum(part[4] for part in parts) / (weight.N * weight.K),
        "squares": power,
    }


def _errors(
    weight: QuantizedWeight, rms: float, first: int, stop: int
) -> tuple[float, float, float, tuple[int, int], int]:
    """Of some rows: squared error, largest error, RMS and place of the worst group, outliers."""
    floats = _floats(weight, first, stop)
    errors = np.abs(weight.make(first, stop).values() - floats)
    starts = np.arange(0, weight.K, weight.group)
    sizes = np.minimum(weight.group, weight.K - starts)
    groups = np.add.reduceat(np.square(errors), starts, axis=1) / sizes
    row, column = np.unravel_index(groups.argmax(), groups.shape)
    total = float(np.square(errors, dtype=np.float64).sum())
    outliers = int((np.abs(floats) > SIGMAS * rms).sum())
    worst = math.sqrt(float(groups[row, column]))
    return total, float(errors.max()), worst, (first + int(row), int(column)), outliers


def _floats(weight: QuantizedWeight, first: int, stop: int) -> Array:
    assert weight.floats is not None
    return weight.floats(first, stop).astype(np.float32)


def _spans(weight: QuantizedWeight) -> Iterator[tuple[int, int]]:
    step = max(1, STEP // weight.K)
    for first in range(0, weight.N, step):
        yield first, min(weight.N, first + step)


def _bits(weight: QuantizedWeight) -> float:
    """Bits per weight, with its share of scale and zero point."""
    extra = dtype_bytes(weight.scale) + (dtype_bytes(weight.zero) if weight.zero else 0)
    return weight.bits + 8 * extra / weight.group


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [row for row in rows if not row["same_as"]]
    quantised = [row for row in rows if "rms_error" in row]
    power = sum(row["squares"] for row in quantised)
    error = sum(row["rms_error"] ** 2 * row.pop("squares") for row in quantised)
    bits = sum(row["N"] * row["K"] * row.get("bits_per_weight", row["bits"]) for row in rows)
    count = sum(row["N"] * row["K"] for row in rows)
    return {
        "weights": count,
        "bits_per_weight": bits / count if count else 0.0,
        "rms_error": math.sqrt(error / power) if power else 0.0,
    }


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people; the weight with the largest relative error first."""
    rows = sorted(figures["weights"], key=lambda row: -row.get("rms_error", -1.0))
    head = ("error", "largest", "worst group", "> 6 sigma", "bits", "group", "N × K", "weight")
    yield from table([head, *(_cells(row) for row in rows)])
    total = figures["total"]
    millions = f"{total['weights'] / 1e6:.1f} M weights"
    yield f"all: RMS error {total['rms_error']:.2%} of the weights'"
    yield f"     {millions}, {total['bits_per_weight']:.2f} bits each"
    yield "error, worst group: RMS of the errors over RMS of the weights; largest: absolute"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    anonymous = row["name"].startswith("onnx::")  # torch.onnx names transposed weights so
    name = row["node"] if anonymous else row["name"]
    sizes = (f"{row['bits']}", f"{row['group'] or '–'}", f"{row['N']} × {row['K']}", name)
    if "rms_error" not in row:
        why = "tied" if row["same_as"] else "as it came" if row["group"] else "float"
        return (why, "", "", "", *sizes)
    worst, outliers = row["worst_group"], row["outliers"]
    where = f"{worst['rms_error']:.1%} at {worst['row']}, {worst['column']}"
    share = f"{outliers * 1e6:.0f} ppm" if outliers else "none"
    return (f"{row['rms_error']:.2%}", f"{row['max_error']:.3g}", where, share, *sizes)
