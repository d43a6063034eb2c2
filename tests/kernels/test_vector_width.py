"""PoCL compiles the cpu kernels for 512-bit registers where the processor has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needed import needs

from toolkit.executors.opencl.device_choice import choose_device

SCRIPT = Path(__file__).with_name("run_cases.py")
CPUINFO = Path("/proc/cpuinfo")
WIDE = (
    "gemm_cpu",
    "gemv_cpu",
    "gemv_quantized_cpu",
    "gemv_pair_cpu",
    "gemv_pair_quantized_cpu",
    "attention_prefill_cpu",
    "attention_decode_cpu",
    "attention_split_cpu",
    "rmsnorm_cpu",
    "neurons_cpu",
    "record_rows_cpu",
    "columns_cpu",
)


@pytest.fixture(scope="module")
def pocl() -> None:
    """The device under test: others keep no compiled kernels."""
    platform = choose_device().platform.name
    if platform != "Portable Computing Language":
        pytest.skip(f"{platform} is not PoCL")


@pytest.mark.usefixtures("pocl")
@pytest.mark.slow  # compiled as users get it: by a process and a cache of its own
@needs(shutil.which("objdump"), "objdump (binutils) is not installed")
@pytest.mark.skipif(
    not CPUINFO.exists() or "avx512f" not in CPUINFO.read_text(), reason="no AVX-512 here"
)
@pytest.mark.parametrize("name", WIDE)
def test_cpu_kernels_use_zmm_registers(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "POCL_CACHE_DIR": str(tmp_path), "PYOPENCL_NO_CACHE": "1"}
    environment["POCL_EXTRA_BUILD_FLAGS"] = ""  # optimised
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    command = [sys.executable, str(SCRIPT), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    objects = list(tmp_path.rglob("*.so"))
    assert objects, done.stdout
    code = subprocess.run(["objdump", "-d", *objects], capture_output=True, text=True).stdout
    assert "zmm" in code, f"{name} was compiled for narrower vectors"
