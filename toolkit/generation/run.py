"""Generate from a prompt and print the text as it is generated."""

import codecs
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.generation.chat_template import choose_template, decoded, read_bytes
from toolkit.generation.length_note import length_note
from toolkit.generation.sampling_settings import choose_sampling, model_settings, without_effect
from toolkit.generation.session import Session
from toolkit.generation.tokenizer import Tokenizer, load_tokenizer, parse_ids
from toolkit.offload.counts import Counts, flash_facts, too_late
from toolkit.offload.points import no_tables
from toolkit.plan.load import load_plan


class Output:
    """Prints a run: the text of each id, or the ids themselves if the plan has no tokenizer."""

    def __init__(
        self, session: Session, plan: Path, write: Callable[[str], None], echo: str = ""
    ) -> None:
        self.tokenizer: Tokenizer | None = load_tokenizer(plan, session.model)
        self._eos = frozenset(session.model.get("eos", ()))
        self._write = write
        self._stream = None if self.tokenizer is None else self.tokenizer.stream()
        self._pieces: list[str] = []
        if echo:
            write(echo)

    def encode(self, prompt: str, special: bool = True) -> list[int]:
        """The ids of a prompt; `special` as in `Tokenizer.encode`."""
        if self.tokenizer is None:
            raise PocketError(
                "this plan can't read text",
                "no tokenizer.json came with its model",
                "pass --ids 1,2,3, or put tokenizer.json beside the model and compile again",
            )
        return self.after(self.tokenizer.encode(prompt, special))

    def after(self, ids: list[int]) -> list[int]:
        """The same ids; the text that is printed next follows them."""
        self._stream = self.tokenizer.stream(ids) if self.tokenizer else None
        return ids

    def push(self, token: int) -> None:
        """Print the text that this id completes."""
        if self._stream is None:
            self._write(f"{token} ")
        elif token not in self._eos:
            self._emit(self._stream.push(token))

    def finish(self, tail: str = "") -> str | None:
        """Print the rest; return the whole new text, or None without a tokenizer."""
        if self._stream is None:
            return None
        self._emit(self._stream.flush() + tail)
        return "".join(self._pieces)

    def of(self, token: int) -> str:
        """An id and its text, for people."""
        return (
            str(token) if self.tokenizer is None else f"{token} {self.tokenizer.decode([token])!r}"
        )

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
    template: bool | None = None,
    system: str | None = None,
    template_file: Path | None = None,
    load_state: Path | None = None,
    save_state: Path | None = None,
    sample: bool = False,
    stop: Sequence[str] = (),
    serial: str | None = None,
    text_length: int = 0,
    memory: int | str | None = None,
    flash: str | None = None,
    trace_access: Path | None = None,
    warm: str = "auto",
    **given: Any,
) -> dict[str, Any]:
    """What `pocketcl run` does: open a session, generate, print as it goes.

    With a loaded state, the ids that the prompt has in common with it are not fed again; without a
    prompt its text is continued. `sample` and `given` are for `choose_sampling`.
    """
    # check what can be checked before the plan is loaded
    wanted = None if ids is None else parse_ids(ids)
    templated = prompt is not None and (template or system is not None or template_file is not None)
    if dump and on != "host":
        raise PocketError(
            "the runner dumps no tensors", "it keeps only its answers", "use --on host"
        )
    sampling = sampling_of(plan, sample, given)
    progress("loading the plan")
    options: dict[str, Any] = {"text_length": text_length, **({"dump": dump} if dump else {})}
    options |= {"serial": serial} if on == "phone" else {}
    options |= {"memory": memory, "flash": flash, "warm": warm}
    options |= {} if trace_access is None else {"trace": traced_into(plan, trace_access, on)}
    with Session(plan, on, **options) as session:
        output = Output(session, plan, write)
        if load_state:
            session.load_state(load_state)
        # the ids of the whole text: given, of the prompt, or those of the loaded state
        if templated:
            prompt = as_message(plan, prompt or "", system, template_file)
        if prompt is not None:
            wanted = output.encode(prompt, special=not templated)
        wanted = output.after(list(session.history) if wanted is None else wanted)
        progress("")
        # feed only what the session does not hold
        rest = session.resume(wanted)
        if note := length_note(session, len(rest), max_new_tokens):
            print(note, file=sys.stderr)
        before = Counts.of(session.executor.stats() if session.executor.plan.tables else {})
        figures = run(session, rest, max_new_tokens, output, sampling, stop)
        figures |= _of_flash(session, flash, before)
        figures["reused"] = len(wanted) - session.fed
        figures |= session.executor.target.facts()
        write("\n")
        for line in logprob_lines(figures, output):
            write(line)
        if save_state:
            session.save_state(save_state)
        return figures


def traced_into(plan: Path, file: Path, on: str) -> Path:
    """The file for a line on each gather, if there are any, and if it is written here."""
    if on == "phone":
        because = "a run writes it where it reads its weights"
        raise PocketError("--trace-access does not go with --on phone", because, "--on runner")
    if not load_plan(plan).tables:
        raise no_tables("--trace-access")
    return file.absolute()


def _of_flash(session: Session, flash: str | None, before: Counts) -> dict[str, Any]:
    """What was read of flash; times are withheld where an imitation was late."""
    if not session.executor.plan.tables:
        return {}
    stats = session.executor.stats()
    counts = Counts.of(stats) - before
    facts: dict[str, Any] = {"flash": flash_facts(stats, flash, counts)}
    if late := too_late(flash, counts):
        print(f"note: {late.what}; {late.because}", file=sys.stderr)
        facts |= {"prefill_s": None, "decode_s": None}
    return facts


def sampling_of(plan: Path, sample: bool, given: Mapping[str, Any]) -> Sampling:
    """The sampling that command-line options mean; a note names options without effect."""
    sampling = choose_sampling(model_settings(plan) if sample else {}, given, sample)
    for name in without_effect(sampling, given):
        option = "--" + name.replace("_", "-")
        print(f"note: {option} needs --temperature T or --sample: this is greedy", file=sys.stderr)
    return sampling


def as_message(plan: Path, prompt: str, system: str | None, own: Path | None) -> str:
    """A prompt as the first message of a conversation."""
    template = choose_template(plan, own)
    if template is None:
        because = "no chat template came with its model"
        hint = "pass --template-file FILE, or leave out --template and --system"
        raise PocketError("this plan takes no chat messages", because, hint)
    messages = [{"role": "system", "content": system}] if system else []
    try:
        return template.render([*messages, {"role": "user", "content": prompt}])
    finally:
        template.close()


def read_prompt(name: str) -> str:
    """A prompt from a file, or from stdin if the name is "-", without its last line break.

    Editors add that one. Windows' UTF-16 and line ends become the UTF-8 and line feeds that models
    are trained on.
    """
    path = Path(os.path.expanduser(name))
    content = sys.stdin.buffer.read() if name == "-" else read_bytes(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            content = content.decode("utf-16").encode()
    text = decoded(content, "stdin" if name == "-" else name)
    return text.replace("\r\n", "\n").removesuffix("\n")


def piped_prompt() -> str | None:
    """A prompt from a pipe; None if stdin is a terminal or empty."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return read_prompt("-") or None


def logprob_lines(figures: Mapping[str, Any], output: Output) -> Iterator[str]:
    """A line for each new id, if their logprobs were asked for."""
    for token, logprob in zip(figures["ids"], figures.get("logprobs", ()), strict=False):
        yield f"{logprob:9.4f}  {output.of(token)}\n"


GREEDY = Sampling()


def run(
    session: Session,
    ids: list[int],
    max_new_tokens: int,
    output: Output,
    sampling: Sampling = GREEDY,
    stop: Sequence[str] = (),
) -> dict[str, Any]:
    """Generate; keys as in `pocketcl run --json`. Ctrl-C keeps what was generated."""
    new: list[int] = []
    tokens = session.generate(ids, max_new_tokens, sampling=sampling, stop_strings=stop)
    try:
        for token in tokens:
            new.append(token)
            output.push(token)
    except KeyboardInterrupt:
        tokens.close()
        session.stop_reason = "cancel"
    figures: dict[str, Any] = {
        "ids": new,
        "text": output.finish(session.tail),
        "prefill_s": session.prefill_s,
        "decode_s": session.decode_s,
        "stop": session.stop_reason,
        "stop_string": session.stop_string,
        "sampling": {k: v for k, v in asdict(sampling).items() if k != "logprobs"},
    }
    if sampling.logprobs:
        figures["logprobs"] = [float(x) for x in session.logprobs()[: len(new)]]
    return figures
