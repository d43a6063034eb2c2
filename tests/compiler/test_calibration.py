"""Plans for devices with halves: values too large for these stay float, and digits stay right."""

from pathlib import Path
from typing import Any

import pytest
from changed_decoder import DOWN, EMBEDDED, Changes, check, compiled, decode_kernels

from toolkit.compiler.calibration import memory
from toolkit.compiler.report import CompileReport, compile_lines
from toolkit.errors import PocketError
from toolkit.evaluation.verify import lines, verify

LARGE = ", float huge = {3e6}, float slight = {1e-6}, float far = {1e5}, float near = {1e-5}"
UP, DOWN_SLIGHT = "up = MatMul(y, wu)", "thin = MatMul(mix, wd) down = Mul(thin, slight)"
STREAM = ((EMBEDDED, "raw = Gather(table, input_ids) h = Mul(raw, huge)"),)
GATED = (
    ("up = MatMul(y, wu)", "some = MatMul(y, wu) up = Mul(some, huge)"),
    (DOWN, "thin = MatMul(mix, wd) down = Mul(thin, slight)"),
)
ATTENTION = (
    ("w0 = MatMul(x, wv)", "w00 = MatMul(x, wv) w0 = Mul(w00, far)"),
    ("o = MatMul(o2, wo)", "o3 = MatMul(o2, wo) o = Mul(o3, near)"),
)
NORM = (
    ("y = Mul(g2, n2)", "large = Mul(g2, far) y = Mul(large, n2)"),
    ("gate = MatMul(y, wg)", "gate0 = MatMul(y, wg) gate = Mul(gate0, near)"),
    ("up = MatMul(y, wu)", "some = MatMul(y, wu) up = Mul(some, near)"),
)


def made(folder: Path, *changes: tuple[str, str], **options: Any) -> CompileReport:
    return compiled(folder, *changes, constants=LARGE, device="adreno", **options)


def worst(done: CompileReport) -> float:
    """The largest NMSE of a verification; infinite where there are no numbers."""
    try:
        errors = [case["nmse"] for case in verify(done.path, on="host")["cases"]]
    except PocketError as error:
        assert error.what.endswith("are not numbers")
        return float("inf")
    return float("inf") if None in errors else max(errors)


@pytest.mark.parametrize(
    ("changes", "bar"),  # what is left in halves rounds
    [
        pytest.param(STREAM, 2e-6, id="stream"),
        pytest.param(NORM, 1e-4, id="norm", marks=pytest.mark.slow),
        pytest.param(
            (*GATED, *ATTENTION), 1e-4, id="gated unit, attention", marks=pytest.mark.slow
        ),
    ],
)
def test_values_beyond_halves_stay_float(changes: Changes, bar: float, tmp_path: Path) -> None:
    lost = made(tmp_path, *changes, weights="e0m4", calibrate="off")
    assert worst(lost) > 1e-2
    assert "float_values" not in lost.figures and lost.figures["not_measured"]
    kept = made(tmp_path, *changes, weights="e0m4")
    assert worst(kept) < bar
    values = kept.figures["float_values"]
    assert values and all(value["largest"] > 16_000 for value in values)
    assert any("stay float" in line for line in compile_lines(kept.path, kept.figures))


@pytest.mark.parametrize(
    ("changes", "float_values", "state"),
    [
        (STREAM, {"h", "h1/AddRmsNorm"}, "f16"),
        (GATED, {"mix"}, "f16"),
        (ATTENTION, {"o0/Attention", "state_out.layers.0.v"}, "f32"),
        (NORM, {"h1/AddRmsNorm.1"}, "f16"),
    ],
    ids=["stream", "gated unit", "attention", "norm"],
)
def test_only_these_values_stay_float(
    changes: Changes, float_values: set[str], state: str, tmp_path: Path
) -> None:
    done = made(tmp_path, *changes)
    stored = {each["value"] for each in done.figures["float_values"]}
    assert {name for name in stored if not name.startswith("logits/")} == float_values
    assert {each.dtype for each in done.plan.buffers if each.kind == "state"} == {state}


def test_a_norm_beyond_halves_makes_its_products_float(tmp_path: Path) -> None:
    kernels = decode_kernels(made(tmp_path, *NORM, weights="e0m4"))
    assert [kernel for kernel, case in kernels if case.get("normed_as") == "f32"] == ["gemv"]


def test_small_values_are_halves(tmp_path: Path) -> None:
    plans = [made(tmp_path, **options).plan for options in ({}, {"calibrate": "off"})]
    assert plans[0] == plans[1]
    assert "f16" in {scratch.dtype for scratch in plans[0].phases[0].scratch}


def test_f32_is_not_measured(tmp_path: Path) -> None:
    done = compiled(tmp_path, constants=LARGE, device="pocl")
    assert not {"measured_on", "not_measured"} & done.figures.keys()
    check(done)


def test_products_of_normed_rows_stay_half(tmp_path: Path) -> None:
    """A stream that is too large doesn't make the products slow that read it normed."""
    done = made(tmp_path, *STREAM, weights="e0m4")
    products = [kernel for kernel, _ in decode_kernels(done) if kernel.startswith("gemv")]
    assert products.count("gemv_half") >= 3, decode_kernels(done)


def test_a_file_of_text_needs_a_tokenizer(tmp_path: Path) -> None:
    text = tmp_path / "text"
    with pytest.raises(PocketError, match="is no text"):
        made(tmp_path, calibrate=text)
    text.write_text("Some words.")
    with pytest.raises(PocketError, match="cannot be read with the model's tokenizer"):
        made(tmp_path, calibrate=text)
    assert not (tmp_path / "m.plan").exists()


def test_a_model_larger_than_memory_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    done = made(tmp_path)
    assert "needs about" in done.figures["not_measured"]
    assert any("not measured" in line for line in compile_lines(done.path, done.figures))


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_verify_names_halves_that_are_no_numbers(on: str, tmp_path: Path) -> None:
    lost = made(tmp_path, *STREAM, calibrate="off")
    with pytest.raises(PocketError, match="no half holds: h, ") as caught:
        verify(lost.path, on=on)
    assert caught.value.what.endswith("are not numbers") and "--calibrate" in caught.value.hint


def test_verify_counts_halves_near_the_end_of_their_range(tmp_path: Path) -> None:
    near = (EMBEDDED, "raw = Gather(table, input_ids) h = Mul(raw, some)")
    done = compiled(
        tmp_path, near, constants=", float some = {12000}", device="adreno", calibrate="off"
    )
    report, other = (verify(done.path, on=on) for on in ("host", "runner"))
    assert report["halves"] == other["halves"]
    (unsafe, *_) = report["halves"]["unsafe"]
    assert report["ok"] and unsafe["value"] in ("h", "h1/AddRmsNorm")
    assert unsafe["near"] and not unsafe["not_finite"] and 32_000 < unsafe["largest"] <= 65_504
    assert any("not safe" in line for line in lines(report))


def test_verify_finds_safe_halves(tmp_path: Path) -> None:
    report = verify(made(tmp_path).path, on="host")
    assert report["halves"]["values"] > 5 and report["halves"]["unsafe"] == []
    assert any("none of" in line for line in lines(report))
