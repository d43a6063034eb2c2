"""Mutated plans, state files and commands on the null device: answers, and nothing else.

A plan that breaks it is named by its seed. `python tests/runner/test_fuzz.py FOLDER SEED…` writes
the plans of seeds and says how to run them.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from mutate import write_case
from native import HERE, SANITIZERS, build, runner_sources
from toy import C, Toy, buffer

CASES = int(os.environ.get("POCKETCL_FUZZ_CASES", "10000"))
PATIENCE = 60.0  # seconds for one plan; fuzz_plan ends itself before
STRICT = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def null_device(*flags: str) -> Path:
    return build("libnull_opencl.so", [HERE / "null_opencl.c"], "-shared", *flags)


def fuzz_program() -> list[str]:
    """The command, built with sanitizers."""
    sources = [*runner_sources("main.cpp", "protocol.cpp"), HERE / "fuzz_plan.cpp"]
    return [str(build("fuzz_plan", sources, *SANITIZERS)), str(null_device(*SANITIZERS))]


class Fuzz:
    """A fuzz_plan process."""

    def __init__(self, folder: Path) -> None:
        self.errors = (folder / "stderr").open("w+b")
        pipe = subprocess.PIPE
        command = [*fuzz_program(), str(folder)]
        self.child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.errors, env=os.environ | STRICT
        )

    def ask(self, line: str) -> str:
        """The answer; empty when the process died or takes too long."""
        assert self.child.stdin and self.child.stdout
        try:
            self.child.stdin.write(line.encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            return ""
        if not select.select([self.child.stdout], [], [], PATIENCE)[0]:
            return ""
        return self.child.stdout.readline().decode(errors="replace").rstrip("\n")

    def end(self) -> str:
        """What stood on stderr besides notes; the exit code is 0, or it says why not."""
        assert self.child.stdin
        self.child.stdin.close()
        try:
            code = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()
        self.errors.close()
        told = [line for line in lines if not line.startswith("note: ")][-60:]
        return "\n".join(told if code == 0 else [f"exit code {code}", *told])


def fuzz(good: Path, folder: Path, seeds: Sequence[str]) -> Counter[str]:
    """What came of these plans: ok, or the first words of the error."""
    process, outcomes = Fuzz(folder), Counter[str]()
    for seed in seeds:
        line = write_case(good, folder, seed)
        answer = process.ask(line)
        if not answer:
            again = f"python {HERE / 'test_fuzz.py'} FOLDER {seed}"
            raise AssertionError(f"plan {seed} ({line}):\n{process.end()}\nagain: {again}")
        outcomes[kind(answer)] += 1
        plan = Path(line.split(" ", 2)[2])
        if plan.parent == good:
            plan.unlink()
    errors = process.end()
    assert not errors, errors
    return outcomes


def kind(answer: str) -> str:
    if answer == "ok":
        return answer
    facts = json.loads(answer)
    assert set(facts) == {"what", "because", "hint"}
    assert all(facts.values()), facts
    return " ".join(facts["what"].split(" ")[:5])


@pytest.fixture
def good(toy: Toy) -> Path:
    return with_sampling(toy)


def with_sampling(toy: Toy) -> Path:
    """The toy with the buffers of a plan that samples, which nothing reads."""
    toy.plan["buffers"] += [
        buffer("sampling", "input", "i32", [16], 64),
        buffer("logprobs", "output", "f32", [1, C + 1], 4 * (C + 1)),
    ]
    toy.save()
    return toy.folder


def test_mutated_plans(good: Path, tmp_path: Path) -> None:
    outcomes = fuzz(good, tmp_path, [str(i) for i in range(CASES)])
    assert outcomes.total() == CASES and outcomes["ok"] > CASES // 20
    assert len(outcomes) > 10  # it gets to many places


def test_every_call_may_fail(good: Path, tmp_path: Path) -> None:
    """Each call of OpenCL in turn, in a plan that is good: nothing is left, everything is told."""
    process = Fuzz(tmp_path)
    answers = [process.ask(f"{n} on {good}") for n in range(400)]
    errors = process.end()
    assert not errors, errors
    outcomes = Counter(kind(answer) for answer in answers)
    assert outcomes["ok"] >= 1 and outcomes["the OpenCL device failed in"] > 200


def main(folder: Path, seeds: Sequence[str]) -> Iterator[str]:
    """Writes the plans of seeds; says how to run them."""
    good = with_sampling(Toy(folder / "toy plan"))
    lines = [write_case(good, folder, seed) for seed in seeds]
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    yield f"{' '.join(fuzz_program())} {folder} < {folder / 'lines'}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in main(Path(sys.argv[1]), sys.argv[2:]))
