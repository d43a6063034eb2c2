"""`bench --kernels --families`: the shapes, the budget of time, and a vendor's product."""

import json

import pytest
from click.testing import CliRunner

from opencl_kernels import FAMILIES
from opencl_kernels.case import case_id
from opencl_kernels.device_class import CLASSES
from toolkit.bench import family_bench, vendor_sgemm
from toolkit.bench.family_bench import TYPICAL, bench_families, lines, shapes
from toolkit.cli.commands import cli
from toolkit.errors import PocketError


@pytest.mark.parametrize("device_class", CLASSES)
@pytest.mark.parametrize("features", [(), ("fp16", "subgroups")])
def test_every_class_has_kernels_for_the_typical_shapes(
    device_class: str, features: tuple[str, ...]
) -> None:
    found = shapes(device_class, features)
    assert [each.what for each in found] == [what for what, _, _ in TYPICAL]
    for each, (_, family, name) in zip(found, TYPICAL, strict=True):
        assert each.family is FAMILIES[family] and case_id(each.case) == name
        assert len({kernel.name for kernel in each.kernels}) == len(each.kernels) in (1, 2)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(PocketError, match="no class of devices is called 'adren'"):
        shapes("adren", ())


def test_figures_of_a_shape_and_what_the_time_does_not_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vendor_sgemm, "SIZE", 64)
    two = [each for each in TYPICAL if each[0] in ("norm, decode", "RoPE + KV, decode")]
    monkeypatch.setattr(family_bench, "TYPICAL", (two[0], two[1]))
    figures = bench_families("generic", 0.1)
    named = [each["what"] for each in figures["families"] + figures["left_out"]]
    assert sorted(named) == sorted(what for what, _, _ in two)
    monkeypatch.setattr(family_bench, "TYPICAL", tuple(two[:1]))
    figures = bench_families("cpu", 60)
    (row,) = figures["families"]
    assert (row["kernel"], row["plain"]) == ("add_rmsnorm_cpu", "add_rmsnorm")
    assert row["launches"] >= family_bench.FEWEST and row["gain"] > 0
    assert row["copy_share"] > 0 and row["arithmetic_share"] > 0
    assert figures["copy_gb_s"] > 0 and figures["sgemm_gflop_s"] > 0 and not figures["left_out"]
    json.dumps(figures)
    assert "norm, decode" in "\n".join(lines(figures))


def test_without_a_vendors_product_shares_are_of_the_probe() -> None:
    figures = {"device": "a device", "class": "generic", "copy_gb_s": 1.0, "copy_spread": 0.1}
    figures |= {"multiply_add_gflop_s": 200.0, "sgemm": None, "families": []}
    text = "\n".join(lines({**figures, "left_out": [{"what": "norm", "because": "no time"}]}))
    assert "no vendor's sgemm found: shares of the arithmetic probe, 200 GFLOP/s" in text
    assert "left out: norm: no time" in text


@pytest.mark.parametrize(
    "words", [["a.plan", "--families"], ["--kernels", "--class", "mali"], ["--seconds", "3"]]
)
def test_options_that_do_not_go_together(words: list[str]) -> None:
    assert CliRunner().invoke(cli, ["bench", *words]).exit_code == 2
