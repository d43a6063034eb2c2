"""What a plan needs is compared with what the device has before anything is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest
from native import DRIVERS, build
from talk import Start, failure
from toy import CHUNK, C, D, Toy, V

from toolkit.toolchain.opencl_loader import find_opencl

WEIGHTS = 16384 + 4 * D * V
STATES = 4 * C * D
BUFFERS = 4 * (CHUNK + C + 1 + V)  # rows is 1 in prefill and decode
ARENA = 2 * 512
BESIDES = STATES + BUFFERS + ARENA


@pytest.fixture(scope="module")
def null_device() -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")


@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("all_of_it", [True, False])
def test_room(toy: Toy, start: Start, null_device: Path, unified: bool, all_of_it: bool) -> None:
    """Weights count where they are copied to the device."""
    needed = BESIDES if unified else BESIDES + WEIGHTS
    env = {
        "NULL_CL_MEMORY": str(needed if all_of_it else needed - 1),
        "NULL_CL_UNIFIED": str(int(unified)),
    }
    talk = start(toy.folder, "--cl-lib", str(null_device), "--cache", "", **env)
    mapped = " (mapped, not copied)" if unified else ""
    parts = f"weights {WEIGHTS}{mapped}, states {STATES}, buffers {BUFFERS}, arena {ARENA}"
    has = f"null device has {env['NULL_CL_MEMORY']} bytes: {parts}"
    if all_of_it:
        assert talk.ready["weights"] == ("mapped" if unified else "uploaded")
        note = f"note: the plan needs more memory than {has}\n" if unified else ""
        assert talk.end() == (0, note)
    else:
        facts = failure(talk.first)
        besides = " besides its weights" if unified else ""
        assert facts["what"] == f"the plan needs {needed} bytes{besides}"
        assert facts["because"] == has and "--max-context" in facts["hint"]


def test_a_mali_is_not_given_mapped_weights(
    toy: Toy, start: Start, null_device: Path, fake_driver: Path
) -> None:
    """They count, and are read into the device's memory, or copied where it can't be mapped."""
    toy.plan["profile"]["class"] = "mali"
    toy.save()
    needed = BESIDES + WEIGHTS
    fake = {"FAKE_REAL": str(find_opencl()), "FAKE_MISSING": ",clEnqueueMapBuffer,"}
    for talk in (start(toy.folder), start(toy.folder, "--cl-lib", str(fake_driver), **fake)):
        assert talk.ready["weights"] == "uploaded"
        assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    env = {"NULL_CL_MEMORY": str(needed - 1)}
    short = start(toy.folder, "--cl-lib", str(null_device), "--cache", "", **env)
    assert failure(short.first)["what"] == f"the plan needs {needed} bytes"


def test_plenty(toy: Toy, start: Start, null_device: Path) -> None:
    talk = start(toy.folder, "--cl-lib", str(null_device), "--cache", "")
    assert talk.ready and talk.end() == (0, "")
