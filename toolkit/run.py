"""Generate from a prompt and print text while it comes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.session import Session
from toolkit.text import Text, load_text, parse_ids


class Output:
    """What a run prints: the text of each id, or the ids of a plan without tokenizer."""

    def __init__(
        self, session: Session, plan: Path, write: Callable[[str], None], echo: str = ""
    ) -> None:
        self.text: Text | None = load_text(plan, session.model)
        self._eos = frozenset(session.model.get("eos", ()))
        self._write, self._stream = write, None if self.text is None else self.text.stream()
        self._pieces: list[str] = []
        if echo:
            write(echo)

    def encode(self, prompt: str) -> list[int]:
        """The ids of a prompt."""
        if self.text is None:
            raise PocketError(
                "this plan can't read text",
                "no tokenizer.json came with its model",
                "--ids 1,2,3, or put tokenizer.json beside the model and compile again",
            )
        ids = self.text.encode(prompt)
        self._stream = self.text.stream(ids)
        return ids

    def push(self, token: int) -> None:
        """Print what this id adds."""
        if self._stream is None:
            self._write(f"{token} ")
        elif token not in self._eos:
            self._emit(self._stream.push(token))

    def finish(self) -> str | None:
        """Print the rest; return the whole new text, None where there is no tokenizer."""
        if self._stream is None:
            return None
        self._emit(self._stream.flush())
        return "".join(self._pieces)

    def _emit(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._write(piece)


def run_plan(
    plan: Path,
    prompt: str | None,
    ids: str | None,
    *,
    max_new_tokens: int,
    on: str,
    dump: Sequence[str],
    write: Callable[[str], None],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """What `pocketcl run` does: open a session, generate, print as it goes."""
    fed = None if ids is None else parse_ids(ids)
    if dump and on != "host":
        raise PocketError(
            "the runner dumps no tensors", "it keeps nothing but its answers", "--on host"
        )
    progress("loading the plan")
    options = {"dump": dump} if dump else {}
    with Session(plan, on, **options) as session:
        output = Output(session, plan, write)
        fed = output.encode(prompt or "") if fed is None else fed
        progress("")
        figures = run(session, fed, max_new_tokens, output)
        write("\n")
        return figures


def run(session: Session, ids: list[int], max_new_tokens: int, output: Output) -> dict[str, Any]:
    """Generate greedily; keys as in `pocketcl run --json`. Ctrl-C keeps what is there."""
    new: list[int] = []
    tokens = session.generate(ids, max_new_tokens)
    try:
        for token in tokens:
            new.append(token)
            output.push(token)
    except KeyboardInterrupt:
        tokens.close()
        session.stop_reason = "cancel"
    return {
        "ids": new,
        "text": output.finish(),
        "prefill_s": session.prefill_s,
        "decode_s": session.decode_s,
        "stop": session.stop_reason,
    }
