"""The C API on the toy and on a compiled model: the protocol's ids, and a word for every misuse."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import binding
import numpy as np
import pytest
from binding import BUSY, CANCEL, CONTEXT, EOS, ERROR, LENGTH, LOST, Handle, Refused
from flash_toy import FlashToy
from native import DRIVERS, build, compiler, library_sources
from talk import Start
from toy import CHUNK, C, Toy, V

import toolkit
from toolkit.toolchain.build import SOURCES
from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]
SLOW = "  for (volatile int i = 0; i < 20000000; ++i);\n  tokens[0]"
Open = Callable[..., Handle]


@pytest.fixture(scope="session")
def api() -> Any:
    return binding.load()


@pytest.fixture
def opened(api: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    for name, value in runner_environment().items():
        monkeypatch.setenv(name, value)
    found: list[Handle] = []

    def run(plan: Path, **options: str) -> Handle:
        words = {"cache": str(cache), "library": str(find_opencl()), **options}
        found.append(Handle(api, plan, **words))
        return found[-1]

    yield run
    for handle in found:
        handle.close()


def refused(call: Callable[..., Any], *arguments: Any) -> Refused:
    with pytest.raises(Refused) as error:
        call(*arguments)
    assert error.value.what and error.value.because and error.value.hint
    return error.value


# --- ids -----------------------------------------------------------------------------------------


def test_ids_of_the_toy(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    assert handle.call("position") == 0 and handle.text() == []
    first = handle.prefill(TEXT, 0)
    ids, why = handle.generate(first, len(TEXT), 9)
    expected = toy.continued(TEXT, 10)
    assert ([first, *ids], why) == (expected, LENGTH)
    past = len(TEXT) + 9
    assert handle.call("position") == past and handle.text() == [*TEXT, *expected[:9]]
    assert handle.decode(ids[-1], past) == toy.next([*TEXT, *expected])
    assert handle.prefill(TEXT[4:], 4) == first  # rewound
    assert handle.call("vocab_size") == V and handle.call("max_context") == C


def test_ids_of_the_demo_model_are_the_protocols(demo: Path, opened: Open, start: Start) -> None:
    text = [0, 377, 379]
    handle, talk = opened(demo), start(demo)
    first = handle.prefill(text, 0)
    assert talk.next(f"prefill 0 {' '.join(map(str, text))}") == first
    assert talk.decode(f"decode 3 {first} 40")[0] == handle.generate(first, 3, 40)[0]
    words = " ".join(map(str, toolkit.Sampling(temperature=0.9, top_k=40, seed=2**40 + 7).words()))
    assert talk.ask(f"sampling {words}") == "ok"
    drawn, _ = talk.decode(f"decode 3 {first} 40")
    handle.sample(sampling(temperature=0.9, top_k=40, seed=2**40 + 7))
    assert handle.generate(first, 3, 40)[0] == drawn
    handle.sample(None)
    assert handle.generate(first, 3, 40)[0] != drawn


def test_stop_ids_and_context(toy: Toy, opened: Open) -> None:
    expected = toy.continued(TEXT, 9)
    end = next(i for i, token in enumerate(expected) if i and token == expected[4])
    handle = opened(toy.folder)
    first = handle.prefill(TEXT, 0)
    stop = [7777, expected[4]]
    assert handle.generate(first, len(TEXT), 20, stop) == (expected[1 : end + 1], EOS)
    ids, why = handle.generate(first, len(TEXT), 1000)
    assert (len(ids), why) == (C - len(TEXT), CONTEXT)
    assert handle.generate(ids[-1], C, 5) == ([], CONTEXT)
    assert handle.generate(first, len(TEXT), 0) == ([], LENGTH)
    toy.save_json(lambda plan: plan["model"].update(eos=[expected[4], 3]))
    again = opened(toy.folder)
    own = ctypes.POINTER(ctypes.c_int32)()
    assert again.call("eos", ctypes.byref(own)) == 2 and own[:2] == [expected[4], 3]
    again.prefill(TEXT, 0)
    ids, why = again.generate(first, len(TEXT), 20, stop=None)
    assert why == EOS and ids[-1] in own[:2]


def test_the_callback_stops_it(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    first = handle.prefill(TEXT, 0)
    count = iter(range(1, 99))
    ids, why = handle.generate(first, len(TEXT), 20, on_id=lambda _: next(count) == 3)
    assert ([first, *ids], why) == (toy.continued(TEXT, 4), CANCEL)
    text = [*TEXT, first, *ids[:-1]]
    assert handle.text()[: len(text)] == text
    assert handle.decode(ids[-1], len(text)) == toy.next([*text, ids[-1]])


def test_cancel_from_another_thread(toy: Toy, opened: Open) -> None:
    toy.sources["pick"] = toy.sources["pick"].replace("  tokens[0]", SLOW)
    toy.save()
    handle = opened(toy.folder, recorded="off", cooperative="off")
    handle.call("cancel")  # nothing runs
    first = handle.prefill([3], 0)
    thread = threading.Thread(target=handle.call, args=("cancel",))
    ids, why = handle.generate(first, 1, 30, on_id=lambda _: thread.is_alive() or start(thread))
    thread.join()
    assert why == CANCEL and 0 < len(ids) < 30
    assert [first, *ids] == toy.continued([3], len(ids) + 1)
    over = threading.Event()

    def cancel() -> None:
        while not over.wait(0.001):
            handle.call("cancel")

    thread = threading.Thread(target=cancel)
    thread.start()
    error = refused(handle.prefill, TEXT * 3, 0)
    over.set()
    thread.join()
    assert error.status == binding.CANCELLED and error.what == "interrupted"
    held = handle.call("position")
    assert held % CHUNK == 0 and handle.text() == (TEXT * 3)[:held]
    assert handle.prefill([3], 0) == first


def start(thread: threading.Thread) -> int:
    if thread.ident is None:
        thread.start()
    return 0


def test_a_call_from_the_callback_is_refused(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    first = handle.prefill(TEXT, 0)
    answers: list[int] = []

    def call(_: int) -> int:
        answers.extend((handle.call("decode", 1, 0, None), handle.call("position")))
        return 0

    ids, _ = handle.generate(first, len(TEXT), 2, on_id=call)
    assert answers == [BUSY, -1] * 2 and [first, *ids] == toy.continued(TEXT, 3)


def test_two_handles_in_two_threads(toy: Toy, tmp_path: Path, opened: Open) -> None:
    other = Toy(tmp_path / "other", seed=1)
    wrong: list[tuple[int, list[int]]] = []

    def work(model: Toy, handle: Handle, seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            text = random.integers(0, V, random.integers(1, 20)).tolist()
            first = handle.prefill(text, 0)
            ids, _ = handle.generate(first, len(text), 12)
            if [first, *ids] != model.continued(text, 13):
                wrong.append((seed, text))

    models = (toy, other)
    threads = [
        threading.Thread(target=work, args=(model, opened(model.folder), seed))
        for seed, model in enumerate(models)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_opening_in_several_threads(toy: Toy, opened: Open) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(opened(toy.folder).prefill(TEXT, 0)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [toy.next(TEXT)] * 4


# --- values and states ---------------------------------------------------------------------------


def test_logits_and_score(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder, phases="prefill,score,decode")
    assert "prefill first" in refused(handle.floats, "logits", V).hint
    handle.prefill(TEXT, 0)
    expected = toy.logits(TEXT)
    near = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(handle.floats("logits", V), expected[-1], **near)
    assert str(V) in refused(handle.floats, "logits", V - 1).because
    ids = binding.array(TEXT)
    scores = handle.floats("score", V * len(TEXT), ids, len(TEXT), 0)
    np.testing.assert_allclose(np.reshape(scores, (-1, V)), expected, **near)
    assert handle.call("position") == len(TEXT)
    without = opened(toy.folder)
    assert "score is not loaded" in refused(without.floats, "score", V, ids, 1, 0).what


def test_states(toy: Toy, opened: Open, tmp_path: Path) -> None:
    file, handle = tmp_path / "a state", opened(toy.folder)
    first = handle.prefill(TEXT, 0)
    handle.save(file, 7)
    other = opened(toy.folder)
    assert other.load(file) == 7 and other.text() == TEXT[:7]
    assert other.prefill(TEXT[7:], 7) == first
    file.write_bytes(file.read_bytes()[:-1])
    assert refused(other.load, file).what == f"{file} is damaged"
    assert other.generate(first, len(TEXT), 3)[0] == toy.continued([*TEXT, first], 3)
    assert "are no 99 positions" in refused(handle.save, file, 99).what
    assert "can't be read" in refused(other.load, tmp_path / "nowhere").what
    assert "can't be written" in refused(other.save, tmp_path / "no" / "where", 2).what


def test_a_start_with_what_was_in_memory(tmp_path: Path, opened: Open) -> None:
    """Kept when it is said, and at the end; of a full disk only the first tells an error."""
    flash = FlashToy(tmp_path / "flash toy")
    for point in flash.plan["points"]:
        point |= {"policy": "lfu", "slots": [20, 20], "pinned": [0, 0]}
    flash.save_json()

    def tables(handle: Handle) -> Any:
        return json.loads(handle.call("stats"))["tables"]

    handle = opened(flash.folder, warm=str(tmp_path))
    handle.checked("keep_warm")
    assert not (tmp_path / "pocketcl").exists()  # nothing ran
    handle.prefill(TEXT, 0)
    handle.checked("keep_warm")
    [file] = (tmp_path / "pocketcl" / "warm").iterdir()
    first = file.read_bytes()
    handle.generate(3, len(TEXT), 9)
    with small_files(len(first) // 2):
        error = refused(handle.checked, "keep_warm")
        assert error.status == ERROR and "pocketcl/warm" in error.because
        assert [each.read_bytes() for each in file.parent.iterdir()] == [first]
        handle.close()
    assert [each.read_bytes() for each in file.parent.iterdir()] == [first]
    handle = opened(flash.folder, warm=str(tmp_path))
    assert tables(handle)["warm_records"] == 40 and tables(handle)["ahead_bytes"] > 0
    assert handle.prefill(TEXT, 0) == flash.next(TEXT)
    handle.close()
    assert tables(opened(flash.folder))["warm_records"] == 0
    opened(Toy(tmp_path / "dense").folder, warm=str(tmp_path)).checked("keep_warm")


@contextlib.contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process becomes larger, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_figures(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    handle.generate(handle.prefill(TEXT, 0), len(TEXT), 5)
    stats, info = json.loads(handle.call("stats")), json.loads(handle.call("info"))
    assert stats["decode_tokens"] == 5 and stats["prefill_s"] > 0
    assert info["device"] and info["state_bytes"] == 4 * C * 16


# --- misuse --------------------------------------------------------------------------------------


def sampling(**settings: Any) -> binding.Sampling:
    return binding.Sampling(ctypes.sizeof(binding.Sampling), **settings)


def test_positions_and_ids(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    handle.prefill(TEXT[:5], 0)
    for call, arguments, what in [
        (handle.prefill, ([1], 6), "there is no position 6"),
        (handle.prefill, ([1], -1), "there is no position -1"),
        (handle.decode, (1, 6), "there is no position 6"),
        (handle.generate, (1, 6, 1), "there is no position 6"),
        (handle.prefill, ([], 0), "no tokens"),
        (handle.prefill, ([V], 0), f"token id {V}"),
        (handle.decode, (-1, 0), "token id -1"),
        (handle.prefill, ([1] * C, 1), f"{C} tokens at position 1"),
        (handle.prefill, ([1] * (C + 1), 0), f"{C + 1} tokens don't fit"),
        (handle.generate, (V, 0, 1), f"token id {V}"),
        (handle.generate, (1, 0, -1), "-1 ids"),
        (handle.floats, ("logprobs", 9, 0, 9), "the plan has no buffer"),
    ]:
        error = refused(call, *arguments)
        assert error.what.startswith(what) and error.status == ERROR
    assert handle.decode(TEXT[5], 5) == toy.next(TEXT[:6])


def test_a_text_of_known_length(toy: Toy, opened: Open) -> None:
    """It changes nothing where no table depends on it."""
    handle = opened(toy.folder)
    for tokens in (-1, C + 1):
        assert refused(handle.checked, "expect", tokens).what.startswith("a text cannot have")
    handle.checked("expect", C)
    assert handle.prefill(TEXT, 0) == toy.next(TEXT)


def test_too_far_back_in_a_ring(toy: Toy, opened: Open) -> None:
    toy.plan["buffers"][3] |= {"shape": [C - 20, 16], "bytes": 4 * C * 16}
    toy.plan["states"][0]["capacity"] = C - 20
    toy.save()
    handle = opened(toy.folder)
    handle.prefill([1] * 30, 0)
    assert "too far back" in refused(handle.decode, 1, 30 - CHUNK - 1).what
    handle.decode(1, 30 - CHUNK)
    handle.decode(1, 0)


def test_sampling_that_is_not_possible(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    for name, value in [
        *(("temperature", v) for v in (-1, 0.0001, 101, float("nan"))),
        *(("top_k", v) for v in (-1, 257)),
        *(("top_p", 1.5), ("min_p", -0.1), ("window", -1), ("repetition_penalty", 1000)),
        *(("presence_penalty", 1e9), ("frequency_penalty", float("inf")), ("size", 3)),
    ]:
        given = sampling()
        setattr(given, name, value)
        assert name in refused(handle.sample, given).what


def test_a_plan_that_only_knows_the_likeliest_id(toy: Toy, opened: Open) -> None:
    handle = opened(toy.folder)
    handle.sample(sampling())
    assert "sampling" in refused(handle.sample, sampling(temperature=1.0)).what


def test_plans_that_do_not_open(toy: Toy, opened: Open, tmp_path: Path) -> None:
    assert "nowhere" in refused(opened, tmp_path / "nowhere").what
    assert "no phase 'draft'" in refused(lambda: opened(toy.folder, phases="draft")).what
    assert "recorded 'yes'" in refused(lambda: opened(toy.folder, recorded="yes")).what
    assert "matches 'no such'" in refused(lambda: opened(toy.folder, platform="no such")).what
    opened(toy.folder)
    assert "already" in refused(lambda: opened(toy.folder, library="libm.so.6")).because
    (toy.folder / "weights.0.bin").write_bytes(b"")
    error = refused(opened, toy.folder)
    assert error.status == LOST and "is damaged" in error.what


def test_null(api: Any, toy: Toy, opened: Open) -> None:
    pointer = ctypes.c_void_p()
    assert api.pocketcl_open(None, ctypes.byref(pointer)) == LOST
    assert api.pocketcl_what(pointer) == b"options is NULL"
    assert api.pocketcl_prefill(pointer, None, 0, 0, None) == LOST
    assert api.pocketcl_position(pointer) == 0 and api.pocketcl_info(pointer) is None
    api.pocketcl_close(pointer)
    options = binding.Options(ctypes.sizeof(binding.Options))
    assert api.pocketcl_open(ctypes.byref(options), ctypes.byref(pointer)) == LOST
    assert api.pocketcl_what(pointer) == b"options.plan is NULL"
    api.pocketcl_close(pointer)
    assert api.pocketcl_open(ctypes.byref(options), None) == ERROR
    api.pocketcl_close(None)
    api.pocketcl_cancel(None)
    assert api.pocketcl_decode(None, 0, 0, None) == ERROR
    handle = opened(toy.folder)
    for name, arguments in [
        ("prefill", (None, 3, 0, None)),
        ("generate", (1, 0, 1, None, 0, binding.OnId(), None, None)),
        ("logits", (None, V)),
        ("save", (None, 1)),
        ("load", (None, None)),
    ]:
        assert refused(handle.checked, name, *arguments).what.endswith("is NULL")


BEFORE_WARM = binding.Options.warm.offset


def test_an_app_with_another_header(api: Any, toy: Toy) -> None:
    class Newer(ctypes.Structure):
        _fields_ = (*binding.Options._fields_, ("something", ctypes.c_size_t))

    for size, something, what in [
        (8, 0, b"pocketcl_options.size is 8"),
        *((BEFORE_WARM + part, 0, b"pocketcl_options.size") for part in (1, 4, 7)),
        (1 << 20, 0, b"pocketcl_options.size"),
        (ctypes.sizeof(Newer), 1, b"pocketcl_options asks for something unknown"),
    ]:
        options = Newer(size, str(toy.folder).encode(), something=something)
        pointer = ctypes.c_void_p()
        given = ctypes.cast(ctypes.byref(options), ctypes.POINTER(binding.Options))
        assert api.pocketcl_open(given, ctypes.byref(pointer)) == LOST
        assert what in api.pocketcl_what(pointer) and api.pocketcl_hint(pointer)
        api.pocketcl_close(pointer)


def test_an_app_with_an_older_header(api: Any, toy: Toy, opened: Open) -> None:
    """Its struct ends before `warm`: what lies behind it is nobody's."""
    options = binding.Options(BEFORE_WARM, str(toy.folder).encode(), warm=b"no")
    options.library = str(find_opencl()).encode()
    pointer = ctypes.c_void_p()
    assert api.pocketcl_open(ctypes.byref(options), ctypes.byref(pointer)) == binding.OK
    api.pocketcl_close(pointer)


# --- the files -----------------------------------------------------------------------------------


def test_the_header_is_plain_c(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text('#include "pocketcl.h"\nint main(void) { return !pocketcl_version(); }\n')
    for language, standard in (("c", "c11"), ("c++", "c++11")):
        flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
        command = [*compiler(".c"), "-x", language, *flags, f"-I{SOURCES / 'include'}", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_library_gives_away_only_its_own_names() -> None:
    command = ["nm", "-D", "--defined-only", str(binding.build_library())]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[-1] for line in lines}
    header = (SOURCES / "include" / "pocketcl.h").read_text()
    assert names == {w for w in names if w.startswith("pocketcl_") and f"{w}(" in header}
    assert len(names) == header.count("\nPOCKETCL_API ")


def test_the_example(toy: Toy, cache: Path) -> None:
    sources = [*library_sources(), SOURCES / "examples" / "generate.c"]
    program = build("generate", sources, "-fvisibility=hidden")
    env = runner_environment() | {"POCKETCL_CACHE": str(cache)}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)

    done = run(toy.folder, 8, *TEXT)
    expected = toy.continued(TEXT, 8)
    if 0 in expected:
        expected = expected[: expected.index(0) + 1]
    assert [int(line) for line in done.stdout.split()] == expected, done.stderr
    assert done.returncode == 0 and '"decode_tokens"' in done.stderr
    assert run().returncode == 2
    lost = run(DRIVERS, 1, 1)
    assert lost.returncode == 1 and "hint: " in lost.stderr and os.sep in lost.stderr
