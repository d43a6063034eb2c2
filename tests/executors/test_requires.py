"""What a variant requires of a device, and how its program is built: the same in both executors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flash_toy import FlashToy
from toy import Toy

from toolkit.devices.features import device_features
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.executors.opencl.device_choice import choose_device
from toolkit.plan.schema import FEATURES

TEXT = [3, 1, 4, 1, 5]
BROKEN = "no OpenCL C"
FAST = "#ifndef __FAST_RELAXED_MATH__\n#error an option is missing\n#endif\n"
TOO_MUCH = {"local_bytes": 2**30}

pytestmark = pytest.mark.parametrize("on", ["host", "runner"])


@pytest.fixture
def lacking() -> dict[str, Any]:
    """What a variant may require and the device here hasn't."""
    missing = set(FEATURES) - set(device_features(choose_device()))
    if not missing:
        pytest.skip("the device here has every feature")
    return {"requires": sorted(missing)}


def opened(toy: Toy, on: str, cache: Path) -> Executor:
    return open_executor(toy.folder, on, **({"cache": cache} if on == "runner" else {}))


def give_variants(toy: Toy, *changes: dict[str, Any]) -> None:
    """The first dispatch of every phase gets these variants; each but the last can't be built."""
    toy.sources["broken"] = BROKEN
    program = {"source": "kernels/broken.cl", "kernel": "embed", "defines": []}
    toy.plan["programs"].append(program)
    for phase in toy.plan["phases"]:
        [good] = phase["steps"][0]["variants"]
        broken = {**good, "program": len(toy.plan["programs"]) - 1}
        made = [broken | change for change in changes[:-1]] + [good | changes[-1]]
        phase["steps"][0]["variants"] = made
    toy.save()


def test_a_variant_that_the_device_lacks_something_for_is_left_alone(
    toy: Toy, on: str, cache: Path, lacking: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    give_variants(toy, lacking, TOO_MUCH, lacking | TOO_MUCH, {})
    executor = opened(toy, on, cache)
    assert executor.prefill(TEXT, 0) == toy.next(TEXT)
    executor.close()
    assert capfd.readouterr().err == ""  # nothing failed: nothing was tried


def test_where_no_variant_is_left_nothing_is_built(
    toy: Toy, on: str, cache: Path, lacking: dict[str, Any]
) -> None:
    give_variants(toy, lacking, TOO_MUCH)
    toy.sources = dict.fromkeys(toy.sources, BROKEN)
    toy.save()
    with pytest.raises(PocketError, match=r"no variant of toy\.embed runs on .*\(driver") as caught:
        opened(toy, on, cache)
    feature, memory = caught.value.because.splitlines()
    missing = lacking["requires"][0]
    assert feature == f"kernels/broken.cl (embed) needs {missing}, which the device lacks"
    assert memory.startswith("kernels/embed.cl (embed) needs 1073741824 bytes of local memory")
    assert caught.value.hint == "compile the model for this device"


def test_a_gather_whose_kernels_do_not_run_here(
    tmp_path: Path, on: str, cache: Path, lacking: dict[str, Any]
) -> None:
    """As with other dispatches nothing is built."""
    toy = FlashToy(tmp_path / "flash")
    [dispatch] = next(s for s in toy.plan["phases"][0]["steps"] if s["kind"] == "gather")[
        "dispatches"
    ]
    dispatch["variants"][0] |= lacking
    toy.sources = dict.fromkeys(toy.sources, BROKEN)
    toy.save()
    with pytest.raises(PocketError, match=r"no variant of layers\.0\.neurons runs on") as caught:
        opened(toy, on, cache)
    assert "which the device lacks" in caught.value.because


def test_a_phase_that_is_not_used_may_require_what_it_likes(
    toy: Toy, on: str, cache: Path, lacking: dict[str, Any]
) -> None:
    for variant in toy.plan["phases"][2]["steps"][0]["variants"]:
        variant |= lacking
    toy.save()
    executor = opened(toy, on, cache)
    assert executor.prefill(TEXT, 0) == toy.next(TEXT)
    with pytest.raises(PocketError, match=r"no variant of toy\.embed runs on"):
        executor.score(TEXT, 0)
    executor.close()


def test_programs_are_built_with_their_options(toy: Toy, on: str, cache: Path) -> None:
    toy.sources["embed"] = FAST + toy.sources["embed"]
    toy.save()
    with pytest.raises(PocketError, match=r"no variant of toy\.embed runs on") as caught:
        opened(toy, on, cache)
    assert "kernels/embed.cl (embed) does not build" in caught.value.because
    toy.plan["programs"][0] |= {"options": ["-cl-fast-relaxed-math", "-cl-mad-enable"]}
    toy.save()
    for _ in range(2):  # the second time, from the cache
        executor = opened(toy, on, cache)
        assert executor.prefill(TEXT, 0) == toy.next(TEXT)
        executor.close()


def test_options_are_part_of_the_key_of_the_cache(toy: Toy, on: str, tmp_path: Path) -> None:
    if on == "host":
        pytest.skip("pyopencl keeps its own cache, by text and options")
    counts = []
    for options in ([], ["-cl-mad-enable"], ["-cl-no-signed-zeros"], ["-cl-mad-enable"], []):
        toy.plan["programs"][0]["options"] = options
        toy.save()
        executor: Any = opened(toy, on, tmp_path / "programs")
        counts.append(executor.ready["programs_built"])
        executor.close()
    assert counts == [5, 1, 1, 0, 0]
