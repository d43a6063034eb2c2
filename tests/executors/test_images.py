"""Arguments that kernels read as images, too: whole buffers, and where in them an argument begins.

What refuses images is played by fake_driver.c for the runner, and by functions that are replaced
for the Python executor: then the next variant gives the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyopencl as cl
import pytest
from toy import Toy

from toolkit.devices.features import device_features
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.executors.opencl import phases
from toolkit.executors.opencl.device_choice import choose_device
from toolkit.plan.load import load_plan
from toolkit.toolchain.opencl_loader import find_opencl

TEXT = [3, 1, 4, 1, 5]
READ = """
float shown(__read_only image1d_buffer_t image, int first, int i) {
  const float4 four = as_float4(read_imageui(image, first + i / 4));
  return i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
}
"""
# Kernel -> the number of the argument that it reads as an image instead, and the index of what it
# reads: a weight that is not the first of its file, scratch memory, a state among them.
SHOWN = {
    "embed": (2, "table", "max(tokens[row], 0) * D + d"),
    "remember": (1, "x", "row * D + d"),
    "recall": (1, "state", "j * D + d"),
    "logits": (2, "head", "d * V + v"),
}
TOO_LARGE, REFUSED = {"TEXELS": "9"}, {"AT": "image", "CODE": "-40"}  # of fake_driver.c


def reading_images(text: str, argument: str, index: str) -> str:
    """The kernel with an argument that it reads as an image only."""
    head, body = text.split(") {", 1)
    read, shown = f"{argument}[{index}]", f"shown(image, first, {index})"
    assert body.count(read) == body.count(f"{argument}[") == 1
    more = ", __read_only image1d_buffer_t image, const int first) {"
    return READ + head + more + body.replace(read, shown)


@pytest.fixture
def viewed(toy: Toy) -> Toy:
    """The toy whose first variants read images; the usual ones follow."""
    if "images" not in device_features(choose_device()):
        pytest.skip("the device here has no images")
    for name, (number, argument, index) in SHOWN.items():
        toy.sources[f"{name}_image"] = reading_images(toy.sources[name], argument, index)
        usual = [p["kernel"] for p in toy.plan["programs"]].index(name)
        toy.plan["programs"].append(
            {**toy.plan["programs"][usual], "source": f"kernels/{name}_image.cl"}
        )
        added = {"program": len(toy.plan["programs"]) - 1}
        for phase in toy.plan["phases"]:
            for step in phase["steps"]:
                variants = step.get("variants", [])
                if variants and variants[0]["program"] == usual:
                    more = {**added, "requires": ["images"], "images": [number]}
                    step["variants"] = [{**variants[0], **more}, *variants]
    toy.save()
    return toy


def without_buffers(toy: Toy) -> None:
    for phase in toy.plan["phases"]:
        for step in phase["steps"]:
            step.update({"variants": step["variants"][:1]} if "variants" in step else {})
    toy.save()


def is_right(executor: Executor, toy: Toy) -> None:
    try:
        assert executor.prefill(TEXT, 0) == toy.next(TEXT)
        assert list(executor.decode(TEXT[0], 0, 4, ())) == toy.continued(TEXT[:1], 4)
    finally:
        executor.close()


Open = Callable[[dict[str, str]], Executor]


@pytest.fixture(params=["host", "runner"])
def opened(
    request: pytest.FixtureRequest,
    viewed: Toy,
    fake_driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    """Opens it on a driver that treats images so."""

    def on_host(settings: dict[str, str]) -> Executor:
        limits_of = phases.limits_of
        if "TEXELS" in settings:
            most = {"image_texels": int(settings["TEXELS"])}
            monkeypatch.setattr(phases, "limits_of", lambda d: replace(limits_of(d), **most))
        if "CODE" in settings:
            error = cl.RuntimeError(cl._cl._ErrorRecord("a call", int(settings["CODE"]), "refused"))
            monkeypatch.setattr("toolkit.executors.opencl.memory.texels_of", raising(error))
        return open_executor(viewed.folder, "host")

    def on_runner(settings: dict[str, str]) -> Executor:
        given = {**settings, "REAL": str(find_opencl())}
        for name, value in given.items():
            monkeypatch.setenv(f"FAKE_{name}", value)
        monkeypatch.setenv("POCKETCL_CHILD_BUILDS", "off")
        monkeypatch.setattr("toolkit.executors.target.find_opencl", lambda: fake_driver)
        return open_executor(viewed.folder, "runner", cache=tmp_path / "own")

    return on_host if request.param == "host" else on_runner


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def test_kernels_see_what_lies_in_buffers(
    viewed: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    without_buffers(viewed)
    is_right(opened({}), viewed)
    assert capfd.readouterr().err == ""


def test_devices_whose_images_are_too_small_take_the_next_variants(
    viewed: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    is_right(opened(TOO_LARGE), viewed)
    assert capfd.readouterr().err == ""  # nothing failed: nothing was tried


def test_where_nothing_is_left_the_sizes_are_told(viewed: Toy, opened: Open) -> None:
    without_buffers(viewed)
    plan = load_plan(viewed.folder, note=lambda _: None)
    texels = plan.files[plan.weights[0].file].bytes // 16
    with pytest.raises(PocketError, match=r"no variant of toy\.embed runs on") as caught:
        opened(TOO_LARGE)
    needed = f"needs an image of {texels} texels, the device allows 9"
    assert caught.value.because.endswith(needed)


def test_a_driver_that_makes_no_image_after_all(
    viewed: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    is_right(opened(REFUSED), viewed)
    said = capfd.readouterr().err
    assert "gets no image" in said and "note: the next variant is used instead" in said
    for name in SHOWN:
        assert said.count(f"note: kernels/{name}_image.cl") == 1


@pytest.mark.parametrize("opened", ["runner"], indirect=True)
def test_a_library_without_the_function_has_no_images(
    viewed: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    is_right(opened({"MISSING": ",clCreateImage,"}), viewed)
    assert capfd.readouterr().err == ""
