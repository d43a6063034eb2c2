"""`bench --ui`: how long a second client waits that draws a frame every 16 ms, as a screen does.

The client is the runner's own program in another process (android_runner/probe/frames.cpp), here or
on the phone: it has a queue of its own on the same device, and waits for each of its frames. A
processor is shared by the system's scheduler, whatever runs there: so frames also wait beside
threads that only spin, one a core, for as long as the trials take. What they wait there is the
machine's; what they wait longer beside the model is ours.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from toolkit.bench.trials import Contestant, Trial, run_trial
from toolkit.devices.probe import source
from toolkit.errors import PocketError
from toolkit.executors.target import Local, Target

PERIOD_MS = 16  # 60 frames a second
IDLE_S = 1.0  # of frames that nothing delays, at least
SPIN = "while True: pass"  # Python: a process with one thread
STARTED_S = 0.1  # by then it spins
Waits = list[float]  # ms, of each frame


class Screen:
    """The second client; frames are drawn from `go` to `stop`."""

    def __init__(self, on: str, serial: str | None = None) -> None:
        """Start it and wait until it could draw; raises where it can't use the device."""
        with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
            file = Path(folder, "probe.cl")
            file.write_text(source(), encoding="utf-8")
            self._machine, words = _on_phone(file, serial) if on == "phone" else _here(file)
            self._process = self._machine.start([*words, "--frames", str(PERIOD_MS)])
            said = self._line()
        if said != "ready":
            raise self._ended(said)

    def go(self) -> None:
        """Begin to draw."""
        self._ask("go")

    def stop(self) -> Waits:
        """Stop; how long each frame since `go` took to be drawn."""
        return self._ask("stop")

    def close(self) -> None:
        """End the client."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._machine.leave()
        self._machine.close()

    def __enter__(self) -> Self:
        """As it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the client, whatever happened."""
        self.close()

    def _ask(self, word: str) -> Waits:
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        said = self._line()
        try:
            return [float(wait) for wait in json.loads(said)["waits_ms"]]
        except (ValueError, KeyError, TypeError):
            raise self._ended(said) from None

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def _ended(self, said: str) -> PocketError:
        self._process.kill()
        err = self._process.communicate()[1].splitlines()
        because = said or "\n".join(err[-8:]) or f"exit code {self._process.returncode}"
        return PocketError(
            "the client that draws beside the model ended", because, "run pocketcl doctor"
        )


def beside_a_screen(
    contestant: Contestant,
    screen: Screen,
    prompt: Sequence[int],
    new_tokens: int,
    repeats: int,
    tell: Callable[..., None],
    cores: int = 0,
) -> dict[str, Any]:
    """Trials alone and beside the client, in turn: its waits, and what the model loses.

    cores  of a device that is a processor: frames also wait beside as many spinning threads
    loss   the share of the rate that is lost beside the client, by medians; below 0: noise
    """
    waits: dict[str, Waits] = {name: [] for name in ("idle", "spinning", "prefill", "decode")}
    alone, beside = list[Trial](), list[Trial]()
    for repeat in range(repeats):
        tell(f"beside a screen, repeat {repeat + 1} of {repeats}")
        started = time.monotonic()
        alone.append(run_trial(contestant, prompt, new_tokens))
        lasted = time.monotonic() - started
        trial, prefill, decode = _beside(contestant, screen, prompt, new_tokens)
        beside.append(trial)
        waits["prefill"] += prefill
        waits["decode"] += decode
        waits["idle"] += _drawn(screen, max(lasted, IDLE_S / repeats))
        if cores:
            with spinning(cores):
                waits["spinning"] += _drawn(screen, lasted)
    return {
        "period_ms": PERIOD_MS,
        "idle": summary(waits["idle"]),
        "spinning": {**summary(waits["spinning"]), "threads": cores} if cores else None,
        "prefill": {
            **summary(waits["prefill"]),
            "loss": _loss([t.prefill_s for t in alone], [t.prefill_s for t in beside]),
        },
        "decode": {
            **summary(waits["decode"]),
            "loss": _loss([t.decode_s or 0 for t in alone], [t.decode_s or 0 for t in beside]),
        },
    }


@contextmanager
def spinning(threads: int) -> Iterator[None]:
    """Other processes keep so many cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(threads)]
    try:
        time.sleep(STARTED_S)
        yield
    finally:
        for each in processes:
            each.kill()
            each.wait()


def summary(waits: Sequence[float]) -> dict[str, Any]:
    """How many frames there were, and milliseconds that they waited."""
    if not waits:
        return {"frames": 0, "median_ms": None, "p95_ms": None, "longest_ms": None}
    ordered = sorted(waits)
    last = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    middle = statistics.median(ordered)
    return {"frames": len(ordered), "median_ms": middle, "p95_ms": last, "longest_ms": ordered[-1]}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"  screen        a frame every {figures['period_ms']} ms waits"
    for name in ("idle", "spinning", "prefill", "decode"):
        each = figures[name]
        if each is None:
            continue
        if not each["frames"]:
            yield f"    {name:<12}no frame: it was over before one was due"
            continue
        said = f", the model loses {each['loss']:.1%}" if "loss" in each else ""
        said += f", beside {each['threads']} threads of no model" if "threads" in each else ""
        times = f"{each['p95_ms']:.1f} ms (95 %), {each['longest_ms']:.1f} ms at most"
        yield f"    {name:<12}{times}, {each['frames']} frames{said}"


def _drawn(screen: Screen, seconds: float) -> Waits:
    """The waits of so many seconds."""
    screen.go()
    time.sleep(seconds)
    return screen.stop()


def _beside(
    contestant: Contestant, screen: Screen, prompt: Sequence[int], new_tokens: int
) -> tuple[Trial, Waits, Waits]:
    screen.go()
    at_s, started = time.monotonic(), time.perf_counter()
    token = contestant.start(prompt)
    first = time.perf_counter()
    prefill = screen.stop()
    screen.go()
    again = time.perf_counter()
    ids = list(contestant.decode(token, new_tokens))
    decode_s = (time.perf_counter() - again) / len(ids) if ids else None
    return Trial(first - started, decode_s, (token, *ids), at_s), prefill, screen.stop()


def _loss(alone: Sequence[float], beside: Sequence[float]) -> float:
    """Of a rate, from seconds without and with the client."""
    slower = statistics.median(beside)
    return 1 - statistics.median(alone) / slower if slower else 0.0


def _here(file: Path) -> tuple[Target, list[str]]:
    machine = Local()
    return machine, ["--probe", str(file), *machine.options("")]


def _on_phone(file: Path, serial: str | None) -> tuple[Target, list[str]]:
    from toolkit.executors.phone_target import PhoneTarget
    from toolkit.phone.runner import UP
    from toolkit.phone.store import file_item

    machine = PhoneTarget(serial)
    machine.install_runner()
    tree = machine.store.install("plans", [file_item(file.name, file)])
    return machine, ["--probe", f"{UP}{tree}/{file.name}"]
