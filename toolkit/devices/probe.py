"""`pocketcl devices --probe`: measure a device with the runner, and make a profile of it."""

import datetime
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opencl_kernels.kernel import source_text
from toolkit.errors import PocketError

Figures = dict[str, Any]
LIMIT_S = 900  # for the whole probe: each part has a minute, and emulators are slow
SOURCES = ("rates.cl", "probe.cl")
FLASH = (  # name of the rate in devices.yaml, bytes of a read, order of reads
    ("ufs_sequential", 1 << 20, "sequential"),
    ("ufs_random_512k", 512 << 10, "random"),
    ("ufs_random_4k", 4 << 10, "random"),
)


def probe(
    on: str = "runner",
    serial: str | None = None,
    save: str | None = None,
    progress: Callable[..., None] | None = None,
) -> Figures:
    """Measure the device here, or a phone's; keys as in `pocketcl devices --probe --json`.

    save  the name of a profile to write
    """
    from toolkit.devices.profiles import measured, measured_file, write_measured

    if save:
        measured_file(save)  # raises for a bad name before anything is measured
    (progress or (lambda *_: None))("measuring: about 20 seconds")
    with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        file = Path(folder, "probe.cl")
        file.write_text(source(), encoding="utf-8")
        figures = _on_phone(file, serial) if on == "phone" else _here(file)
    if "error" in figures["device"]:
        fault = figures["device"]
        raise PocketError(fault["error"], fault["because"], "run pocketcl doctor")
    figures["profile"] = profile_of(figures, datetime.date.today())
    figures["saved"] = None
    if save:  # a probe does not measure kernels: their shares stay
        kept = {key: value for key, value in measured(save).items() if key == "kernels"}
        figures["saved"] = str(write_measured(save, figures["profile"] | kept))
    return figures


def source() -> str:
    """The kernels of a probe."""
    return "\n".join(map(source_text, SOURCES))


def profile_of(figures: Mapping[str, Any], day: datetime.date) -> Figures:
    """A probe's figures as an entry of devices.yaml, without the parts that failed."""
    device = figures["device"]
    kind = figures.get("class", "generic")
    entry = {
        "about": f"{device['name']} ({device['platform']})",
        "class": kind,
        **({"soc": figures["soc"]} if figures.get("soc") else {}),
        "align": max(device["align"], _get(figures, "alignment", "smallest_bytes") or 0),
        "features": device["features"],
        "compute_units": device["compute_units"],
        "fp32_tflops": _scaled(_get(figures, "multiply_add_f32", "operations_per_s"), 1e12),
        "fp16_tflops": _scaled(_get(figures, "multiply_add_f16", "operations_per_s"), 1e12),
        "bandwidth_measured_gbs": _scaled(_get(figures, "read", "bytes_per_s"), 1e9),
        "launch_us": _scaled(_get(figures, "launch", "queued_us"), 1),
        "launch_finish_us": _scaled(_get(figures, "launch", "finish_us"), 1),
        "wake_us": _scaled(_get(figures, "launch", "wake_us"), 1) or None,
        "wait_us": _scaled(_get(figures, "launch", "wait_us"), 1) or None,
        "handoff_us": _scaled(_get(figures, "launch", "handoff_us"), 1),
        "max_alloc": _get(figures, "allocation", "largest_bytes"),
        "max_work_group": device["max_work_group"],
        "local_memory": device["local_memory_bytes"],
        **{name + "_gbs": _flash(figures, size, order) for name, size, order in FLASH},
        **{f"{name}_alone_gbs": _flash(figures, size, order, 1) for name, size, order in FLASH},
        "source": f"S measured by pocketcl on {day}, driver {device['driver']}",
    }
    return {name: value for name, value in entry.items() if value is not None}


def _here(source: Path) -> Figures:
    from toolkit.devices.profiles import match, profiles
    from toolkit.paths import cache_dir
    from toolkit.toolchain.build import build_runner
    from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

    command = [str(build_runner()), "--probe", str(source), "--scratch", str(cache_dir())]
    library = find_opencl()
    command += ["--cl-lib", str(library)] if library else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, env=runner_environment()
        )
    except subprocess.TimeoutExpired:
        raise _endless() from None
    figures = _parsed(done.stdout, done.returncode, done.stderr)
    device = figures["device"]
    known = profiles()
    if "error" not in device:
        figures["class"] = known[match(device["platform"], device["name"], known)]["class"]
    return figures


def _on_phone(source: Path, serial: str | None) -> Figures:
    from toolkit.devices.match import match_phone
    from toolkit.devices.profiles import profiles
    from toolkit.phone.about import check_system
    from toolkit.phone.runner import UP, PhoneRunner
    from toolkit.phone.store import file_item

    # copy the runner and its kernels, run it
    runner = PhoneRunner(serial)
    check_system(runner.about)
    runner.install_runner()
    tree = runner.store.install("plans", [file_item(source.name, source)])
    process = runner.start(["--probe", f"{UP}{tree}/{source.name}", "--scratch", "."])
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise _endless() from None
    finally:
        runner.leave()
    # read its answer; an exit without one is a crash
    if process.returncode and "error " not in out:
        raise runner.exit_error(process.returncode, err.splitlines()[-8:])
    figures = _parsed(out, process.returncode, err)
    device, known = figures["device"], profiles()
    if "error" not in device:
        props = {"ro.soc.model": runner.about.soc}
        name = match_phone(props, device["name"], device["driver"], known)
        figures |= {"class": known[name]["class"], "soc": runner.about.soc}
    return {**figures, "phone": runner.figures()}


def _endless() -> PocketError:
    return PocketError("the probe did not end", f"it ran for {LIMIT_S} s", "run pocketcl doctor")


def _parsed(out: str, code: int, err: str) -> Figures:
    line = out.strip().splitlines()[-1] if out.strip() else ""
    if line.startswith("error "):
        raise PocketError(**json.loads(line.removeprefix("error ")))
    try:
        found: Figures = json.loads(line)
        found["device"], found["flash"]
    except (ValueError, KeyError, TypeError):
        because = f"exit code {code}\n{err.strip()[-300:]}".strip()
        raise PocketError("the probe failed", because, "run pocketcl doctor") from None
    return found


def _get(figures: Mapping[str, Any], part: str, key: str) -> Any:
    return figures[part].get(key) if isinstance(figures.get(part), dict) else None


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else float(f"{value / unit:.4g}")


def _flash(
    figures: Mapping[str, Any], size: int, order: str, threads: int | None = None
) -> float | None:
    """Of so many threads, else the best of 1 and 4."""
    alike = [
        r for r in figures["flash"].get("reads", []) if (r["bytes"], r["order"]) == (size, order)
    ]
    rates = [r["bytes_per_s"] for r in alike if threads in (None, r["threads"])]
    return _scaled(max(rates, default=None), 1e9)
