"""Eight processes at once that want the same, some of them killed: a drill, and its works.

    python tests/support/drill.py WORK FOLDER SECONDS SEED

prints {"done": …, "killed": …, "failed": …, "seen": …} of one work; `seen` counts looks from
outside that found something. A look that finds a half, and a process that fails unasked, end it
with an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from toy_plan import write_toy

from opencl_kernels import KERNELS
from toolkit.compiler.tuned import read_table, write_table
from toolkit.errors import PocketError
from toolkit.files import fill_once, write_text
from toolkit.plan import state_file
from toolkit.plan.load import SamePlan, check_hashes, load_plan
from toolkit.plan.write import WeightSource

AT_ONCE = 8
PATIENCE_S = 120  # behind the seconds that are asked for: a busy machine starts few processes
SHAPES = 400
KERNEL = next(iter(KERNELS))


class Work:
    """What each process does, and what is true at any moment, and at the end."""

    rounds = 1  # of `do`, one after the other

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def do(self, dice: random.Random) -> None:
        """In a process of its own, which may be killed."""

    def look(self) -> bool:
        """From outside, at any moment: whether there is something; raises where it is half."""
        return False

    def end(self) -> None:
        """After one that was not killed: nothing is left over."""
        left = [f.name for f in self.folder.rglob("*") if "partial" in f.name or "half" in f.name]
        assert not left, left


class Compiles(Work):
    """Plans of which every file tells its number, to one place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.there = False

    def do(self, dice: random.Random) -> None:
        number = dice.randrange(10**6)
        values = np.full(dice.randint(1, 50000), number, np.int32)

        def produce() -> Iterator[np.ndarray]:
            yield from np.array_split(values, 7)

        sources = [
            WeightSource(f"w{i}", "i32", "plain", values.shape, values.nbytes, produce)
            for i in range(3)
        ]
        texts = {"kernels/toy.cl": f"// {number}\n", "generation_config.json": f'{{"n": {number}}}'}
        write_toy(self.folder / "a.plan", sources=sources, texts=texts)

    def look(self) -> bool:
        plan_path, same = self.folder / "a.plan", SamePlan(self.folder / "a.plan")
        try:
            notes: list[str] = []
            plan = load_plan(plan_path, notes.append)
            check_hashes(plan_path, plan)
            text = (plan_path / "kernels/toy.cl").read_text()
            weights = np.fromfile(plan_path / "weights.0.bin", np.int32, plan.weights[0].bytes // 4)
            same.check()
        except (PocketError, OSError):
            if not plan_path.exists() and not self.there:
                return False  # none was done yet
            assert plan_path.exists(), "it was there, and is gone"
            try:
                same.check()
            except PocketError:
                return False  # it was replaced meanwhile, and that is told
            raise
        self.there = True
        assert not notes and {f"// {n}\n" for n in set(weights.tolist())} == {text}
        return True


class Runners(Work):
    """A folder that is filled once."""

    def do(self, dice: random.Random) -> None:
        name = f"runner-{int(3 * time.monotonic())}"  # one after the other is cold
        fill_once(self.folder / "cache" / name, lambda folder: self.fill(folder, dice))

    def fill(self, folder: Path, dice: random.Random) -> None:
        for i in range(20):
            (folder / f"part{i}").write_text("whole" * 1000)
            time.sleep(dice.uniform(0, 0.01))

    def look(self) -> bool:
        made = list((self.folder / "cache").glob("runner-*"))
        for folder in made:
            assert [f.read_text() for f in folder.iterdir()] == ["whole" * 1000] * 20
        return bool(made)


class Tables(Work):
    """Tables of tuned knobs: of every process that came to its end the table has what it wrote."""

    rounds = 10

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "done").mkdir()

    def do(self, dice: random.Random) -> None:
        shape = f"N{dice.randrange(SHAPES)} K1"
        write_table(self.folder / "t.json", {"profile": "x"}, {KERNEL: {shape: {}}})
        (self.folder / "done" / shape).touch()

    def look(self) -> bool:
        done = {file.name for file in (self.folder / "done").iterdir()}
        notes: list[str] = []
        table = read_table(self.folder / "t.json", notes.append)
        assert not notes and done <= set(table.get(KERNEL, {}))
        return bool(done)


class Profiles(Work):
    """A text that is replaced by others as long."""

    rounds = 30

    def do(self, dice: random.Random) -> None:
        write_text(self.folder / "devices.d" / "x.yaml", dice.choice("abcdef") * 200_000)

    def look(self) -> bool:
        file = self.folder / "devices.d" / "x.yaml"
        text = file.read_text() if file.exists() else ""
        assert not text or text == text[0] * 200_000
        return bool(text)


class States(Work):
    """State files of different lengths."""

    rounds = 30

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_toy(folder / "toy.plan")
        self.plan = load_plan(folder / "toy.plan")

    def do(self, dice: random.Random) -> None:
        ids, value = [1] * dice.randint(1, 40), dice.randbytes(1)
        state_file.save(
            self.folder / "s", self.plan, "digest", ids, 40, {}, lambda _, __, n: value * n
        )

    def look(self) -> bool:
        if not (self.folder / "s").exists():
            return False
        with (self.folder / "s").open("rb") as file:  # as it is now, whatever comes
            seal = (content := file.read())[-65:]
        assert hashlib.sha256(content[:-65]).hexdigest() == seal.decode().strip()
        return True


class Programs(Work):
    """Runners with one cold cache of programs. $DRILL_RUNNER: the command, up to the cache."""

    def do(self, dice: random.Random) -> None:
        words = [*json.loads(os.environ["DRILL_RUNNER"]), "--cache", str(self.folder / "programs")]
        lines = "".join(f"prefill 0 3 1 4\nsave 3 {self.folder / 'state'}\n" for _ in range(9))
        read, write = os.pipe()
        os.write(write, lines.encode() + b"quit\n")
        os.close(write)
        os.dup2(read, 0)
        with (self.folder / "answers").open("a") as answers:
            os.dup2(answers.fileno(), 1)
        os.execv(words[0], words)

    def look(self) -> bool:
        found = list((self.folder / "programs").glob("*.bin"))
        for file in found:
            magic, rest = b"pocketcl program 1\n", file.read_bytes()
            assert rest.startswith(magic), file
            seal, binary = rest[len(magic) :][:64], rest[len(magic) + 64 :]
            assert hashlib.sha256(binary).hexdigest() == seal.decode(), file
        if len(found) == 5 and random.random() < 0.2:
            for file in found:
                file.unlink()  # cold again
        if (state := self.folder / "state").exists():
            content = state.read_bytes()
            assert hashlib.sha256(content[:-65]).hexdigest() == content[-65:].decode().strip()
        return bool(found)

    def end(self) -> None:
        super().end()
        answers = (self.folder / "answers").read_text().splitlines()
        errors = [line for line in answers if line.startswith("error")]
        assert not errors, errors[:3]
        assert not list((self.folder / "programs").glob("journal.*"))


WORKS: dict[str, type[Work]] = {
    kind.__name__.lower(): kind for kind in (Compiles, Runners, Tables, Profiles, States, Programs)
}


class Drill:
    """Processes that are started, killed and counted."""

    def __init__(self, work: Work, seed: int) -> None:
        self.work, self.dice = work, random.Random(seed)
        self.living = set[int]()
        self.counts = Counter[str]()

    def run(self, seconds: float) -> Counter[str]:
        """For so long, and until everything has happened; then one process more, undisturbed."""
        over = time.monotonic() + seconds
        while time.monotonic() < over or self.awaited(over + PATIENCE_S):
            while len(self.living) < AT_ONCE:
                self.start()
            time.sleep(self.dice.uniform(0, 0.02))
            self.counts["seen"] += self.work.look()
            if self.dice.random() < 0.6:
                os.kill(self.dice.choice(sorted(self.living)), signal.SIGKILL)
            self.reap(os.WNOHANG)
        while self.living:
            self.reap(0)
        self.start()
        self.reap(0)
        self.work.look()
        self.work.end()
        return self.counts

    def awaited(self, end: float) -> bool:
        """Whether something has not happened yet: an error at the end, or once one failed."""
        never = [each for each in ("done", "killed", "seen") if not self.counts[each]]
        assert not never or (time.monotonic() < end and not self.counts["failed"]), (
            f"never {', '.join(never)}: {dict(self.counts)}"
        )
        return bool(never)

    def start(self) -> None:
        seed = self.dice.random()
        child = os.fork()
        if child:
            self.living.add(child)
            return
        try:
            dice = random.Random(seed)
            for _ in range(self.work.rounds):
                self.work.do(dice)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def reap(self, how: int) -> None:
        child, status = os.waitpid(-1, how)
        if child:
            self.living.discard(child)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            self.counts["killed" if killed else "failed" if status else "done"] += 1


def main(name: str, folder: str, seconds: str, seed: str) -> int:
    """Print the counts; 1 where a process failed that nobody killed."""
    run: Callable[[float], Counter[str]] = Drill(WORKS[name](Path(folder)), int(seed)).run
    counts = run(float(seconds))
    print(json.dumps({key: counts[key] for key in ("done", "killed", "failed", "seen")}))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
