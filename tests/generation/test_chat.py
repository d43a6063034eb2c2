"""Chat: turns that reuse the cache, commands, pipes, JSON lines, Ctrl-C, and a long stress."""

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from soak import TOKENS

import toolkit
from toolkit import cli
from toolkit.errors import PocketError
from toolkit.generation.chat import Chat, Reply, Turn, stop_ids
from toolkit.generation.chat_template import ChatTemplate, load_template
from toolkit.generation.session import Session
from toolkit.generation.tokenizer import load_tokenizer
from toolkit.plan import state_file

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "toolkit/demo_model"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and 'bad' in m.content %}"
    "{{ raise_exception('no bad words') }}{% endif %}{{ m.content }}{{ '\\n' }}{% endfor %}"
)
LONG = TOKENS // 20  # turns
WORDS = ["Once", "upon", "a", "time", "there", "was", "the", "cat", "and", "dog", "Lily", "park"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with a template that comes with it, compiled."""
    folder = tmp_path_factory.mktemp("chat")
    model = Path(shutil.copytree(DEMO, folder / "model"))
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    toolkit.compile(model, folder / "chat.plan", device="pocl", prefill_chunk=256)
    return folder / "chat.plan"


@pytest.fixture(scope="module")
def session(plan: Path) -> Iterator[Session]:
    with Session(plan, "host") as opened:
        yield opened


@pytest.fixture(scope="module")
def template(plan: Path) -> Iterator[ChatTemplate]:
    found = load_template(plan)
    assert found is not None
    yield found
    found.close()


@pytest.fixture(params=["template", "plain"])
def chat(request: Any, plan: Path, session: Session, template: ChatTemplate) -> Chat:
    session.reset()
    return Chat(session, plan, template if request.param == "template" else None, "", 12)


def say(chat: Chat, text: str) -> Reply:
    pieces: list[str] = []
    reply = chat.ask(text, pieces.append)
    assert "".join(pieces) == reply.text
    return reply


def fresh(chat: Chat, turns: list[Turn], text: str) -> list[int]:
    """What a session that starts anew answers."""
    ids = chat.ids([*turns, Turn(text, "")])
    chat.session.reset()
    return list(chat.session.generate(ids, chat.limit, chat.stops))


def piped(plan: Path, text: str | bytes, *args: Any) -> Result:
    given = ["chat", str(plan), "--on", "host", "--max-new-tokens", "8", *map(str, args)]
    return CliRunner().invoke(cli.cli, given, input=text)


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_turns_feed_only_what_is_new(chat: Chat) -> None:
    first = say(chat, "Once upon a time")
    second = say(chat, "The cat")
    assert first.reused == 0 and second.fed <= 8
    assert second.reused + second.fed == len(chat.ids([chat.turns[0], Turn("The cat", "")]))
    assert second.ids == fresh(chat, chat.turns[:1], "The cat")


def test_undo_edit_drop_and_reset(chat: Chat) -> None:
    for text in ("Once upon a time", "The cat", "The dog"):
        say(chat, text)
    assert chat.undo().user == "The dog"
    again = say(chat, "The dog")
    assert again.reused > 0
    reply = chat.ask("The bird", lambda _: None, keep=1)
    assert [turn.user for turn in chat.turns] == ["Once upon a time", "The bird"]
    assert reply.ids == fresh(chat, chat.turns[:1], "The bird")
    assert chat.drop().user == "Once upon a time"
    assert say(chat, "The end").ids == fresh(chat, chat.turns[:1], "The end")
    chat.reset()
    assert chat.turns == [] and chat.session.past == 0
    for nothing in (chat.undo, chat.drop):
        with pytest.raises(PocketError):
            nothing()


def test_a_system_message(chat: Chat) -> None:
    chat.set_system("Lily was a good girl.")
    reply = say(chat, "One day")
    assert reply.ids == fresh(chat, [], "One day")
    assert chat.ids([Turn("One day", "")]) != Chat(chat.session, chat.plan, chat.template).ids(
        [Turn("One day", "")]
    )


def test_a_refused_system_message_is_forgotten(
    plan: Path, session: Session, template: ChatTemplate
) -> None:
    chat = Chat(session, plan, template, "good")
    with pytest.raises(PocketError, match="no bad words"):
        chat.set_system("bad")
    assert chat.system == "good"


def test_a_full_context_says_so_and_changes_nothing(chat: Chat) -> None:
    say(chat, "Once upon a time")
    with pytest.raises(PocketError, match="does not fit") as caught:
        say(chat, "word " * 400)
    assert "/drop" in caught.value.hint and "/reset" in caught.value.hint
    assert str(chat.context) in caught.value.because
    assert len(chat.turns) == 1 and say(chat, "The cat").reused > 0


def test_an_answer_that_fills_the_context_stops(chat: Chat) -> None:
    chat.limit = 500
    length = len(chat.ids([Turn("a " * 150, "")]))
    fill = "a " * (150 + (chat.context - length) // 2)
    while len(chat.ids([Turn(fill, "")])) < chat.context - 3:
        fill += "a"
    reply = say(chat, fill)
    assert reply.stop in ("context", "eos")
    with pytest.raises(PocketError, match="does not fit"):
        say(chat, "and then what happened to them all")


@pytest.mark.parametrize("on", ["host", "runner"])
def test_a_conversation_kept_in_a_file(plan: Path, tmp_path: Path, chat: Chat, on: str) -> None:
    file = tmp_path / "kept"
    chat.set_system("They were friends.")
    say(chat, "Once upon a time")
    chat.save(file)
    with Session(plan, on) as other:
        later = Chat(other, plan, chat.template, "", 12)
        later.load(file)
        assert (later.turns, later.system) == (chat.turns, chat.system)
        reply = say(later, "The cat")
        assert reply.reused > reply.fed
        assert reply.ids == fresh(later, later.turns[:1], "The cat")


@pytest.mark.parametrize("note", [[], {"turns": 1}, {"system": "", "turns": [["a"]]}, "x"])
def test_a_note_of_another_kind(chat: Chat, tmp_path: Path, note: Any) -> None:
    say(chat, "Once")
    chat.session.save_state(tmp_path / "s", {"chat": note})
    with pytest.raises(PocketError, match="no conversation"):
        chat.load(tmp_path / "s")


def test_the_tokenizers_own_end_ends_an_answer(plan: Path, tmp_path: Path) -> None:
    text = load_tokenizer(plan)
    assert text is not None
    assert stop_ids(text, plan, {"eos": [7]}) == {7, 1}
    assert stop_ids(text, tmp_path, {"eos": [7]}) == {7}


# --- the command ----------------------------------------------------------------------------


def test_a_pipe_one_turn_per_line(plan: Path) -> None:
    result = piped(plan, "Once upon a time\n\nThe cat\n")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) >= 2
    assert "no chat template" not in result.stderr
    as_json = lines_of(piped(plan, "Once upon a time\r\n\nThe cat", "--json"))
    assert [line["turn"] for line in as_json] == [1, 2]
    assert [line["user"] for line in as_json] == ["Once upon a time", "The cat"]
    assert result.stdout == "".join(line["text"] + "\n" for line in as_json)
    keys = {"turn", "user", "text", "ids", "stop", "reused", "fed", "prefill_s", "decode_s"}
    assert set(as_json[1]) == keys and as_json[1]["reused"] > 0


def test_every_command(plan: Path, tmp_path: Path) -> None:
    commands = [
        *("/help", "Once upon a time", "The cat", "/history", "/undo", "/edit 1 One day"),
        *("/system Be kind.", "/stats", f"/save {tmp_path / 'my file'}", "/drop", "/reset"),
        *(f"/load {tmp_path / 'my file'}", "//slash", "/quit", "never said"),
    ]
    result = piped(plan, "\n".join(commands), "--json")
    found = lines_of(result)
    assert result.exit_code == 0
    assert [next(iter(line)) for line in found] == [
        *("help", "turn", "turn", "turns", "undone", "turn"),
        *("system", "stats", "saved", "dropped", "turns"),
        *("loaded", "turn"),
    ]
    assert (found[5]["turn"], found[5]["user"]) == (1, "One day")
    assert (found[12]["turn"], found[12]["user"]) == (2, "/slash")
    plain = piped(plan, "\n".join(commands))
    assert plain.exit_code == 0 and "/history" in plain.stdout and "taken back" in plain.stdout


def test_errors_end_their_line_only(plan: Path) -> None:
    lines = ["/nope", "/edit 5 x", "/edit", "/save", "/load /nowhere", "/undo", "/system bad"]
    result = piped(plan, "\n".join([*lines, "Once"]), "--json")
    found = lines_of(result)
    assert result.exit_code == 1 and len(found) == len(lines) + 1
    assert all(set(line["error"]) == {"what", "because", "hint"} for line in found[:-1])
    assert found[-1]["turn"] == 1
    shown = piped(plan, "/nope\nOnce\n")
    assert shown.exit_code == 1 and shown.stderr.startswith("Error: /nope")


def test_dropping_asks_again_what_did_not_fit(plan: Path) -> None:
    long = "cat " * 195
    found = lines_of(piped(plan, f"{long}\n{long}\n/drop\n/stats\n", "--json"))
    assert [next(iter(line)) for line in found] == ["turn", "error", "dropped", "turn", "stats"]
    assert found[3]["turn"] == 1


def test_text_that_is_not_utf8(plan: Path) -> None:
    result = piped(plan, b"Once\n\xff\xfeabc\nThe cat\n", "--json")
    found = lines_of(result)
    assert result.exit_code == 1
    assert "line 2 is not UTF-8" in found[1]["error"]["what"] and found[2]["turn"] == 2


def test_a_plan_without_template_says_so_once(plan: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(plan, tmp_path / "bare.plan"))
    shutil.copy(DEMO / "tokenizer_config.json", bare)
    result = piped(bare, "Once upon a time\nThe cat\n")
    assert result.stderr.count("no chat template") == 1 and result.exit_code == 0
    assert "no chat template" not in piped(bare, "Once\n", "--no-template").stderr
    mine = tmp_path / "mine.jinja"
    mine.write_text("{{ bos_token }}{{ messages[-1].content }}")
    result = piped(bare, "Once\nThe cat\n", "--template-file", mine, "--json")
    assert "no chat template" not in result.stderr
    assert [line["fed"] for line in lines_of(result)][1] <= 4


def test_state_goes_on_where_it_ended(plan: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    first = piped(plan, "Once upon a time\n", "--state", file, "--json")
    assert first.exit_code == 0 and file.exists()
    second = lines_of(piped(plan, "The cat\n/history\n", "--state", file, "--json"))
    assert second[0]["turn"] == 2 and second[0]["reused"] > second[0]["fed"]
    assert state_file.read_note(file)["chat"]["turns"][1][0] == "The cat"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    refused = piped(plan, "The cat\n", "--state", file)
    assert refused.exit_code == 1 and "damaged" in refused.stderr
    assert file.read_bytes() == bytes(content)


def test_a_tokenizer_of_another_model(plan: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(plan, tmp_path / "other.plan"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab |= {f"extra{i}": len(vocab) + i for i in range(9)}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    for args in (["chat", other], ["run", other, "--prompt", "Once"]):
        result = CliRunner().invoke(cli.cli, [*map(str, args), "--on", "host"])
        assert result.exit_code == 1
        assert "1033" in result.stderr and "1024" in result.stderr


def test_ctrl_c_stops_the_answer_and_keeps_the_session(plan: Path) -> None:
    code = (
        "import sys, os, signal, toolkit.executors.runner as r; old = r.RunnerExecutor.decode\n"
        "def decode(*args):\n"
        "    tokens = old(*args)\n"
        "    for i, token in enumerate(tokens):\n"
        "        if i == 3 and not done: done.append(os.kill(os.getpid(), signal.SIGINT))\n"
        "        yield token\n"
        "done = []; r.RunnerExecutor.decode = decode\n"
        "from toolkit.cli import cli; cli(sys.argv[1:])"
    )
    args = [sys.executable, "-c", code, "chat", str(plan), "--json", "--max-new-tokens", "40"]
    text = "Once upon a time\nThe cat\n/stats\n"
    done = subprocess.run(args, input=text, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.get("stop") for line in found] == ["cancel", found[1]["stop"], None]
    assert 4 <= len(found[0]["ids"]) < 40 and found[1]["stop"] != "cancel"
    assert found[1]["reused"] >= len(found[0]["ids"])


@pytest.mark.parametrize("on", ["host", "runner"])
def test_an_interrupted_prompt_leaves_a_usable_session(
    plan: Path, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(plan, on) as session:
        prefill, ids = session.executor.prefill, [5, 6, 7, 8] * 80

        def interrupted(part: Any, past: int) -> int:
            session.interrupt()
            return prefill(part, past)

        with monkeypatch.context() as patch:
            patch.setattr(session.executor, "prefill", interrupted)
            assert list(session.generate(ids, 5, ())) == []
        assert (session.stop_reason, session.past, session.history) == ("cancel", 256, ids[:256])
        found = list(session.generate(session.resume(ids), 5, ()))
        assert session.fed == 64
        session.reset()
        assert list(session.generate(ids, 5, ())) == found


# --- run ------------------------------------------------------------------------------------


def run(plan: Path, *args: Any, **more: Any) -> Any:
    given = ["run", str(plan), "--on", "host", "--max-new-tokens", "8", "--json", *map(str, args)]
    result = CliRunner().invoke(cli.cli, given, **more)
    return json.loads(result.stdout) if result.exit_code == 0 else result


def test_run_takes_prompts_from_files_and_stdin(plan: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Once upon a time\n")
    expected = run(plan, "--prompt", "Once upon a time")["ids"]
    assert run(plan, "--prompt-file", file)["ids"] == expected
    for option in ("--prompt", "--prompt-file"):
        assert run(plan, option, "-", input="Once upon a time\n")["ids"] == expected
    file.write_bytes(b"caf\xe9")
    assert "not UTF-8" in run(plan, "--prompt-file", file).stderr
    assert "not UTF-8" in run(plan, "--prompt", "-", input=b"caf\xe9").stderr
    assert "not UTF-8" in run(plan, "--prompt", "caf\udce9").stderr
    assert run(plan, "--prompt-file", tmp_path / "none").exit_code == 1
    assert run(plan, "--prompt-file", file, "--prompt", "x").exit_code == 2


def test_run_with_a_template(plan: Path, tmp_path: Path) -> None:
    message = run(plan, "--prompt", "Once", "--template")
    assert message["ids"] == run(plan, "--prompt", "Once\n")["ids"] or message["text"]
    assert run(plan, "--prompt", "Once", "--system", "Be kind.")["stop"]
    assert "no bad words" in run(plan, "--prompt", "Once", "--system", "bad").stderr
    bare = Path(shutil.copytree(plan, tmp_path / "bare.plan"))
    shutil.copy(DEMO / "tokenizer_config.json", bare)
    assert "takes no chat messages" in run(bare, "--prompt", "Once", "--template").stderr


def test_run_with_states(plan: Path, tmp_path: Path) -> None:
    file, long = tmp_path / "state", "Once upon a time there was a little cat. " * 4
    first = run(plan, "--prompt", long, "--save-state", file)
    assert first["reused"] == 0
    again = run(plan, "--prompt", long + "The dog", "--load-state", file)
    assert again["reused"] > 20
    assert again["ids"] == run(plan, "--prompt", long + "The dog")["ids"]
    more = run(plan, "--load-state", file)
    whole = run(plan, "--prompt", long, "--max-new-tokens", 16)["ids"]
    assert first["ids"] + more["ids"] == whole
    assert run(plan).exit_code == 2


# --- stress ---------------------------------------------------------------------------------


def resident(session: Session) -> int:
    """Bytes of the runner that are in memory now."""
    process: Any = session.executor
    status = Path(f"/proc/{process._process._child.pid}/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


@pytest.mark.parametrize(
    "turns", [40, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_turns_with_rewinds_and_reloads_equal_a_fresh_session(
    plan: Path, template: ChatTemplate, tmp_path: Path, turns: int
) -> None:
    chance, early = random.Random(turns), 0
    with Session(plan) as session, Session(plan) as clean:
        chat, anew = (Chat(s, plan, template, "", 8) for s in (session, clean))
        for number in range(turns):
            shake(chat, chance, tmp_path)
            text = " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
            while len(chat.ids([*chat.turns, Turn(text, "")])) > chat.context - 10:
                chat.drop()
            before, anew.system = list(chat.turns), chat.system
            found = say(chat, text)
            assert found.ids == fresh(anew, before, text), f"turn {number}"
            early = resident(session) if number == turns // 5 else early
        # The short one still touches pages of the cache for the first time.
        assert resident(session) - early < (2**20 if turns == LONG else 2**22) and early > 0


def shake(chat: Chat, chance: random.Random, folder: Path) -> None:
    """Something that changes what was said, or where it is kept."""
    choice = chance.random()
    if choice < 0.15 and chat.turns:
        for _ in range(chance.randint(1, len(chat.turns))):
            chat.undo()
    elif choice < 0.25 and chat.turns:
        chat.ask("The bird", lambda _: None, keep=chance.randrange(len(chat.turns)))
    elif choice < 0.4 and chat.session.past:
        chat.save(folder / "state")
        if chance.random() < 0.5:
            chat.reset()
    elif choice < 0.55 and (folder / "state").exists():
        chat.load(folder / "state")
    elif choice < 0.6:
        chat.set_system(chance.choice(["", "They were friends.", "Be kind."]))


# --- a terminal -----------------------------------------------------------------------------


def test_a_terminal(plan: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "toolkit", "chat", str(plan), "--max-new-tokens", "300"]
    child = subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(follower)
    seen = ""

    def until(text: str, meanwhile: Callable[[], Any] = lambda: None) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([leader], [], [], 0.5)[0]:
                seen += os.read(leader, 4096).decode("utf-8", "replace")
            else:
                meanwhile()
        seen = seen.partition(text)[2]

    until("/help lists commands")
    until("Ctrl-D ends")
    until("> ")
    # At the prompt nothing is lost. (Just before it waits for a key, readline misses a signal.)
    until("Ctrl-D ends", lambda: child.send_signal(signal.SIGINT))
    until("> ")
    os.write(leader, b"Once upon a time\n")
    until("> ")
    os.write(leader, b"/stats\n")
    until("context   ")
    until("> ")
    os.write(leader, b"\x04")
    assert child.wait(timeout=30) == 0
    os.close(leader)
