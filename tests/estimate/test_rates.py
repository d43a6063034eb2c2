"""The limits of a device: its own figures, else others with their source; bad ones refused."""

from typing import Any

import pytest

from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError

KNOWN: dict[str, dict[str, Any]] = {
    "a": {"class": "adreno", "fp16_tflops": 4.0, "bandwidth_gbs": 50.0, "source": "E"},
    "b": {"class": "adreno", "fp16_tflops": 2.0, "bandwidth_gbs": 20.0, "source": "E"},
    "c": {"class": "adreno", "fp16_tflops": 6.0, "bandwidth_gbs": 60.0, "source": "E"},
}


def of(kind: str = "adreno", **facts: Any) -> Rates:
    base = {"class": kind, "source": {"bandwidth_gbs": "S somewhere", "rest": "E"}, "from": "test"}
    return rates_of("x", {**base, **facts}, KNOWN)


def test_a_profiles_own_figures() -> None:
    found = of(bandwidth_gbs=100.0, fp16_tflops=5.0, launch_us=3)
    assert found.read.value == pytest.approx(80e9) and "somewhere" in found.read.source
    assert found.arithmetic.value == 5e12 and "recalled" in found.arithmetic.source
    assert found.launch.value == pytest.approx(3e-6)
    assert of(bandwidth_gbs=100.0, bandwidth_measured_gbs=61.5).read.value == pytest.approx(61.5e9)


def test_what_a_profile_lacks() -> None:
    memory = of(memory="LPDDR5X-8400")
    assert memory.read.value == pytest.approx(0.8 * 67.2e9) and "formula" in memory.read.source
    middle = of()
    assert middle.read.value == pytest.approx(0.8 * 50e9) and "median of 3" in middle.read.source
    assert middle.arithmetic.value == pytest.approx(4e12)
    scaled = of(bandwidth_gbs=30.0)  # by the middle of 0.08, 0.1 and 0.1 TFLOP/s per GB/s
    assert scaled.arithmetic.value == pytest.approx(3e12) and "per GB/s" in scaled.arithmetic.source
    assert of(fp32_tflops=1.5).arithmetic.value == pytest.approx(3e12)


def test_a_processor_must_be_measured() -> None:
    with pytest.raises(PocketError, match="the bandwidth of 'x' is not known") as caught:
        of("cpu")
    assert "bench --kernels --save x" in caught.value.hint
    with pytest.raises(PocketError, match="arithmetic rate"):
        of("cpu", bandwidth_measured_gbs=10.0, fp16_tflops=1.0)
    assert of("cpu", bandwidth_measured_gbs=10.0, fp32_tflops=0.2).arithmetic.value == 2e11


def test_one_share_stands_for_both_limits() -> None:
    kernels = {"gemv": {"bandwidth": 0.3}, "gemm": {"bandwidth": 0.5, "arithmetic": 0.1}}
    found = of(kernels=kernels).shares
    assert (found["gemv"].bandwidth, found["gemv"].arithmetic) == (0.3, 0.3)
    assert (found["gemm"].bandwidth, found["gemm"].arithmetic) == (0.5, 0.1)


@pytest.mark.parametrize(
    "facts",
    [
        {"kernels": {"gemv": {}}},
        {"kernels": {"gemv": None}},
        {"kernels": {"gemv": 3}},
        {"kernels": {"gemv": {"bandwidth": 0}}},
        {"kernels": {"gemv": {"bandwidth": "much"}}},
        {"bandwidth_gbs": "fast"},
        {"fp16_tflops": -1},
        {"launch_us": True},
    ],
)
def test_bad_figures_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(PocketError, match="device 'x' in test is not usable"):
        of(**facts)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_shipped_profile_can_be_estimated(name: str) -> None:
    """But those of processors, which are measured."""
    facts = profiles()[name]
    if facts["class"] == "cpu" and facts["from"] == "shipped":
        return
    found = rates_of(name, facts, profiles())
    assert 1e9 < found.read.value < 1e12 and 1e10 < found.arithmetic.value < 1e14
    assert "other" in found.shares and all(share.source for share in found.shares.values())
