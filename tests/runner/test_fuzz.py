"""Mutated plans, state files and commands on the null device: answers, and nothing else.

A plan that breaks it is named by its seed. This writes the plans of seeds and says how to run them:

    PYTHONPATH=tests/support python tests/runner/test_fuzz.py FOLDER SEED…

10,000 plans with tables, whose budgets change, take ten minutes, with AddressSanitizer:

    POCKETCL_FUZZ_CASES=20000 pytest -m slow tests/runner/test_fuzz.py -k with_tables
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bad_inside import CHOOSING
from bad_inside import TEST as NEURONS_TEST
from fatal_toy import embed_test
from flash_toy import FlashToy
from mutate import of_bytes, write_case
from native import DRIVERS, SANITIZERS, SUPPORT, build, library_sources, sanitized_runner
from toy import C, Toy, buffer

CASES = int(os.environ.get("POCKETCL_FUZZ_CASES", "20000"))  # CI takes fewer
PARTS = 4  # for processes side by side
pytestmark = pytest.mark.slow
PATIENCE = 60.0  # seconds for one plan; fuzz_plan ends itself before
STRICT = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def null_device(*flags: str) -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared", *flags)


def fuzz_program() -> list[str]:
    """The command, built with sanitizers."""
    sources = [*library_sources(), DRIVERS / "fuzz_plan.cpp"]
    program = build("fuzz_plan", sources, *SANITIZERS, "-fvisibility=hidden")
    return [str(program), str(null_device(*SANITIZERS))]


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
            again = f"PYTHONPATH={SUPPORT} python {__file__} FOLDER {seed}"
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


SAMPLING = [  # the buffers of a plan that samples
    buffer("sampling", "input", "i32", [16], 64),
    buffer("logprobs", "output", "f32", [1, C + 1], 4 * (C + 1)),
]


def with_sampling(toy: Toy) -> Path:
    """The toy with buffers that nothing reads, tests and images."""
    toy.plan["buffers"] += SAMPLING
    for phase in toy.plan["phases"]:
        phase["steps"][0]["variants"][0] |= {"requires": ["images"], "images": [2]}
    image = "__global float *x, __read_only image1d_buffer_t shown, const int first)"
    toy.sources["embed"] = toy.sources["embed"].replace("__global float *x)", image)
    assert image in toy.sources["embed"]
    toy.plan["tests"] = [embed_test(toy), embed_test(toy) | {"after": 0}]
    toy.save()
    return toy.folder


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_plans(good: Path, tmp_path: Path, part: int) -> None:
    seeds = [str(i) for i in range(part, CASES, PARTS)]
    outcomes = fuzz(good, tmp_path, seeds)
    assert outcomes.total() == len(seeds) and outcomes["ok"] > len(seeds) // 20
    assert len(outcomes) > 10  # it gets to many places


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    """Its kernel tells its arguments without macros: the null device counts them in the text."""
    toy = FlashToy(tmp_path / "flash toy")
    neurons = ("const int *sym", "const int *ticket", "const uint *slots", "const float *x",
               "const float *v", "float *part")  # fmt: skip
    by_gate = ("const int *sym", "int *rule", "const float *v", "const int *order", "int *ticket")
    toy.plan["buffers"] += SAMPLING
    toy.sources["neurons_cpu"] = kernel_of("neurons_cpu", neurons)
    toy.sources["choose_cpu"] = kernel_of("choose_cpu", by_gate)
    toy.plan["tests"] = [embed_test(toy), NEURONS_TEST, CHOOSING, NEURONS_TEST | {"after": 1}]
    toy.save()
    return toy


def kernel_of(name: str, args: Sequence[str]) -> str:
    """That does nothing."""
    return f"__kernel void {name}({', '.join(f'__global {each}' for each in args)}) {{}}\n"


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_plans_with_tables(flash: FlashToy, tmp_path: Path, part: int) -> None:
    """Half as many: what the loader takes is refused by the executor, or runs."""
    seeds = [f"tables {i}" for i in range(part, CASES // 2, PARTS)]
    outcomes = fuzz(flash.folder, tmp_path, seeds)
    assert outcomes.total() == len(seeds) and outcomes["ok"] > len(seeds) // 20
    assert len(outcomes) > 5


def answers_while_calls_fail(process: Fuzz, plan: Path, recorded: str, count: int) -> list[str]:
    """Of runs in which one call of OpenCL fails, each another one: beyond the last all is well."""
    answers = [process.ask(f"{n} {recorded} {plan}") for n in range(count)]
    errors = process.end()
    assert not errors, errors
    outcomes = Counter(kind(answer) for answer in answers)
    assert outcomes["ok"] >= 1 and outcomes["the OpenCL device failed in"] > 100
    return answers


@pytest.mark.parametrize("recorded", ["off", "on"])
def test_every_call_may_fail(good: Path, tmp_path: Path, recorded: str) -> None:
    """Each call of OpenCL in turn, in a plan that is good: nothing is left, everything is told."""
    answers = answers_while_calls_fail(Fuzz(tmp_path), good, recorded, 400)
    if recorded == "off":  # nothing is measured, so that every run makes the same calls
        assert set(answers[300:]) == {"ok"}


def test_every_call_of_gathers_may_fail(flash: FlashToy, tmp_path: Path) -> None:
    """Reads that are under way then end before their memory goes."""
    answers_while_calls_fail(Fuzz(tmp_path), flash.folder, "off", 600)


WORDS = (
    *("prefill", "step", "decode", "sampling", "logprobs", "score", "logits", "save", "load"),
    *("begin", "expect"),
)
ANSWERS = ("ok", "id", "done", "error", "stats", "logprobs")


def command(dice: random.Random) -> bytes:
    """A line for the runner: a command with arguments that mostly make no sense."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randint(0, 300)).replace(b"\n", b" ").replace(b"quit", b"")
    word = dice.choice((*WORDS, "stats", "profile", "halves", "cancel", "sing"))
    numbers = (
        "0",
        "1",
        "3",
        "7",
        "39",
        "40",
        "-1",
        "49",
        "50",
        "2147483647",
        "2147483648",
        "x",
        "1e3",
    )
    words = [dice.choice(numbers) for _ in range(dice.choice((0, 1, 2, 3, 3, 9, 16, 50)))]
    if word in ("score", "save", "load", "logits"):
        words.insert(
            dice.choice((0, 1, 1)), dice.choice(("out", "no/where", "state", "\t", "out\t{}"))
        )
    space = dice.choice((" ", " ", " ", "  ", "\t"))
    return space.join([word, *words]).encode()


def damaged_states(good: bytes, folder: Path, count: int) -> list[bytes]:
    """Lines that load state files with a few bytes changed; every other has a right checksum."""
    lines = []
    for i in range(count):
        content = of_bytes(good, random.Random(f"state {i}"))
        if i % 2:
            content = content[:-65] + hashlib.sha256(content[:-65]).hexdigest().encode() + b"\n"
        elif content == good:
            continue
        (folder / f"state.{i}").write_bytes(content)
        lines.append(f"load state.{i}".encode())
    return lines


def talk(good: Path, folder: Path, lines: Sequence[bytes]) -> list[str]:
    """What the runner, built with sanitizers, answers to these lines, and then to `quit`."""
    options = ["--cl-lib", str(null_device(*SANITIZERS)), "--cache", "", "--phases", "score"]
    options += ["--recorded", "on"]  # whatever times say: a switch would be noted
    done = subprocess.run(
        [str(sanitized_runner()), str(good), *options],
        input=b"\n".join([*lines, b"quit\n"]),
        capture_output=True,
        cwd=folder,
        env=os.environ | STRICT,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace").splitlines()[1:]


def test_commands(good: Path, tmp_path: Path) -> None:
    dice = random.Random(1)
    lines = [command(dice) for _ in range(4000)]
    answers = talk(good, tmp_path, lines)
    assert {answer.split(" ")[0] for answer in answers} == set(ANSWERS)
    for answer in answers:
        if answer.startswith("error "):
            kind(answer.removeprefix("error "))


def test_damaged_states(good: Path, tmp_path: Path) -> None:
    ids = " ".join(["0"] * 20)
    assert talk(good, tmp_path, [f"prefill 0 {ids}".encode(), b"save 20 state"])[1] == "ok"
    state = (tmp_path / "state").read_bytes()
    loads = damaged_states(state, tmp_path, 1000)
    answers = talk(good, tmp_path, [*loads, b"load state"])
    assert len(answers) == len(loads) + 1 and answers[-1] == "ok 20 20"
    for line, answer in zip(loads, answers, strict=False):
        if answer.startswith("error "):
            kind(answer.removeprefix("error "))
        else:  # with a right checksum the states may hold anything
            assert int(line.rsplit(b".")[1]) % 2 == 1, line


def main(folder: Path, seeds: Sequence[str]) -> Iterator[str]:
    """Writes the plans of seeds; says how to run them."""
    good = with_sampling(Toy(folder / "toy plan"))
    lines = [write_case(good, folder, seed) for seed in seeds]
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    yield f"{' '.join(fuzz_program())} {folder} < {folder / 'lines'}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in main(Path(sys.argv[1]), sys.argv[2:]))
