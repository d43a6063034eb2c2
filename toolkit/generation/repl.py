"""`pocketcl chat`: lines in, answers out; on a terminal, in a pipe, or as JSON lines."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from toolkit.errors import PocketError, format_error
from toolkit.generation.chat import Chat
from toolkit.generation.chat_template import choose_template, decoded
from toolkit.generation.run import sampling_of
from toolkit.generation.session import Session
from toolkit.nearest import unknown

PLAIN = "note: this plan has no chat template: what you write is continued as plain text"
HELP = """\
/undo              take the last turn back
/edit N TEXT       say TEXT instead of what you said in turn N; later turns are forgotten
/history           the turns so far
/system TEXT       replace the system message (without TEXT: remove it)
/drop              forget the oldest turn, when the context is full
/reset             forget all turns
/save FILE         write the conversation, with its cache, to a file
/load FILE         continue the conversation of a file
/stats             use of the context, figures of the last answer
/quit              end; so does Ctrl-D
Ctrl-C stops an answer. Write // at the start of a message that begins with /."""
STOPS = {
    "cancel": "stopped",
    "length": "stopped after {} tokens: --max-new-tokens",
    "context": "the context is full: /drop forgets the oldest turn, /reset all of them",
}


class Repl:
    """Reads lines: answers messages, executes commands."""

    def __init__(self, chat: Chat, write: Callable[[str], None], as_json: bool) -> None:
        self.chat, self.as_json, self.failed = chat, as_json, False
        self._write = write
        self._refused = ""  # the message that didn't fit; /drop asks it again
        self._commands: dict[str, Callable[[str], None]] = {
            "/undo": self._undo,
            "/edit": self._edit,
            "/history": self._history,
            "/system": self._system,
            "/drop": self._drop,
            "/reset": self._reset,
            "/save": self._save,
            "/load": self._load,
            "/stats": self._stats,
            "/help": lambda _: self._say(HELP, help=HELP),
        }

    def run(self, lines: Iterator[str | PocketError]) -> None:
        """Handle lines until /quit or their end; after an error, go on with the next line."""
        for line in lines:
            try:
                if isinstance(line, PocketError):
                    raise line
                if line.strip() == "/quit":
                    return
                if line.strip():
                    self.handle(line)
            except PocketError as error:
                self.failed = True
                self._tell_error(error)

    def handle(self, line: str) -> None:
        """One message or command."""
        if line.startswith("/") and not line.startswith("//"):
            word, _, rest = line.partition(" ")
            if word not in self._commands:
                known = [*self._commands, "/quit"]
                raise unknown(
                    f"{word} is no command",
                    word,
                    known,
                    "list all with /help, or begin a message with //",
                )
            self._commands[word](rest.strip())
        else:
            self._ask(line.removeprefix("/") if line.startswith("//") else line)

    def _ask(self, text: str, keep: int | None = None) -> None:
        chat, self._refused = self.chat, text
        reply = chat.ask(text, (lambda _: None) if self.as_json else self._write, keep)
        self._refused = ""
        if self.as_json:
            self._line({"turn": len(chat.turns), "user": text, **asdict(reply)})
            return
        self._write("\n")
        if reply.stop in STOPS:
            self._note(STOPS[reply.stop].format(len(reply.ids)))

    def _undo(self, _: str) -> None:
        turn = self.chat.undo()
        self._say(f"taken back: {_short(turn.user)}", undone=turn.user)

    def _edit(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        count = len(self.chat.turns)
        if not number.isdigit() or not 1 <= int(number) <= count or not text.strip():
            because = f"it needs the number of a turn (there are {count}) and a text"
            hint = "write /edit N TEXT; list the turns with /history"
            raise PocketError("/edit doesn't say what to change", because, hint)
        self._ask(text.strip(), int(number) - 1)

    def _history(self, _: str) -> None:
        turns = self.chat.turns
        lines = [f"{n}  {_short(t.user)}\n   {_short(t.answer)}" for n, t in enumerate(turns, 1)]
        self._say("\n".join(lines) or "nothing was said", turns=[asdict(t) for t in turns])

    def _system(self, text: str) -> None:
        self.chat.set_system(text)
        self._say("the system message is set" if text else "no system message", system=text)

    def _drop(self, _: str) -> None:
        turn, again = self.chat.drop(), self._refused
        self._say(f"forgotten: {_short(turn.user)}", dropped=turn.user)
        if again:
            self._ask(again)

    def _reset(self, _: str) -> None:
        self.chat.reset()
        self._refused = ""
        self._say("all turns are forgotten", turns=[])

    def _save(self, name: str) -> None:
        self.chat.save(_path(name))
        self._say(f"saved to {name}: {_turns(len(self.chat.turns))}", saved=name)

    def _load(self, name: str) -> None:
        self.chat.load(_path(name))
        count, held = len(self.chat.turns), self.chat.session.past
        self._say(f"{_turns(count)}, {held} tokens", loaded=name, turns=count, held=held)

    def _stats(self, _: str) -> None:
        stats = self.chat.stats()
        self._say("\n".join(_stat_lines(stats)), stats=stats)

    def _say(self, text: str, **figures: Any) -> None:
        """The answer to a command."""
        if self.as_json:
            self._line(figures)
        else:
            self._write(text + "\n")

    def _note(self, text: str) -> None:
        print(f"[{text}]", file=sys.stderr, flush=True)

    def _tell_error(self, error: PocketError) -> None:
        if self.as_json:
            facts = {"what": error.what, "because": error.because, "hint": error.hint}
            self._line({"error": facts})
        else:
            print(format_error(error), file=sys.stderr, flush=True)

    def _line(self, figures: dict[str, Any]) -> None:
        print(json.dumps(figures), flush=True)


def chat_with(
    plan: Path,
    *,
    on: str,
    system: str | None,
    template_file: Path | None,
    no_template: bool,
    max_new_tokens: int,
    state: Path | None,
    write: Callable[[str], None],
    progress: Callable[[str], None],
    as_json: bool,
    sample: bool = False,
    stop: Sequence[str] = (),
    serial: str | None = None,
    text_length: int = 0,
    memory: int | str | None = None,
    flash: str | None = None,
    warm: str = "auto",
    **given: Any,
) -> bool:
    """Run `pocketcl chat`; False if a line failed that came from a pipe."""
    generation = {"sampling": sampling_of(plan, sample, given), "stop_strings": stop}
    progress("loading the plan")
    found = None if no_template else choose_template(plan, template_file)
    options: dict[str, Any] = {"text_length": text_length}
    options |= {"serial": serial} if on == "phone" else {}
    options |= {"memory": memory, "flash": flash, "warm": warm}
    with Session(plan, on, **options) as session:
        chat = Chat(session, plan, found, system or "", max_new_tokens, generation)
        repl = Repl(chat, write, as_json)
        progress("")
        if found is None and not no_template:
            print(PLAIN, file=sys.stderr, flush=True)
        try:
            if state and state.exists():
                chat.load(state)
                chat.system = chat.system if system is None else system
            _serve(repl)
            if state and chat.turns:
                chat.save(state)
        finally:
            chat.close()
    return not repl.failed


def _serve(repl: Repl) -> None:
    if not sys.stdin.isatty():
        repl.run(_piped(sys.stdin.buffer))
        return
    session, turns = repl.chat.session, len(repl.chat.turns)
    about = f"{_short(session.executor.device.label)}, context {repl.chat.context} tokens"
    about += f", {_turns(turns)} loaded" if turns else ""
    print(about, file=sys.stderr)
    print("/help lists commands, Ctrl-C stops an answer, Ctrl-D ends", file=sys.stderr)
    repl.run(_typed())
    repl.failed = False  # the user has seen the error and could go on


def _piped(stream: BinaryIO) -> Iterator[str | PocketError]:
    for number, line in enumerate(stream, 1):
        try:
            yield decoded(line, f"line {number}").rstrip("\r\n")
        except PocketError as error:
            yield error


def _typed() -> Iterator[str | PocketError]:
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() its line editing)
    while True:
        try:
            yield input("> ")
        except UnicodeDecodeError as error:
            yield PocketError("the line is not UTF-8", error, "set the terminal to UTF-8")
        except KeyboardInterrupt:
            print("\n[/quit or Ctrl-D ends]", file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return


def _stat_lines(stats: dict[str, Any]) -> Iterator[str]:
    yield f"context   {stats['held']} of {stats['context']} tokens, {_turns(stats['turns'])}"
    if "new" in stats:
        yield f"prompt    {stats['reused']} tokens reused, {stats['fed']} fed" + _rate(
            stats["fed"], stats["prefill_s"]
        )
        yield f"answer    {stats['new']} tokens" + _rate(stats["new"] - 1, stats["decode_s"])
    yield f"memory    {stats['peak_rss_bytes'] / 2**20:.0f} MiB at most"
    yield f"device    {stats['device']}"


def _rate(count: int, seconds: float) -> str:
    return f" in {seconds:.3g} s ({count / seconds:.0f} tokens/s)" if count and seconds else ""


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 72 else line[:71] + "…"


def _path(name: str) -> Path:
    if not name:
        raise PocketError(
            "no file is named", "the command needs one", "write /save FILE or /load FILE"
        )
    return Path(name).expanduser()
