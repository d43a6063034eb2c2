"""Chat templates: from messages to the text that a model was trained to answer.

The templates come with the model, in Jinja2. A worker process with limits renders them
(chat_template_worker.py).
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.foreign.missing_path import near_paths

CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
# Files that may hold the template, best first: a file of its own, or an entry of a JSON file.
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", CONFIG)
SECONDS = 15.0  # to wait for one text; the worker itself ends after 10 s of CPU time
WITHOUT = "repair the template in {}, or use --no-template"

Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant", "content": …}


class ChatTemplate:
    """Renders conversations with a template; `source` is the file that it comes from."""

    def __init__(self, template: str, names: Mapping[str, Any], source: str) -> None:
        """`names`: further variables of the template, such as bos_token."""
        self.source = source
        self._first = {"template": template, "names": dict(names)}
        self._worker: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Message], answer: bool = True) -> str:
        """The text of a conversation; with `answer`, up to where the model's answer begins."""
        if self._worker is None:
            self._start()
        request = {"messages": list(messages), "add_generation_prompt": answer}
        return str(self._ask(request)["text"])

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker:
            worker.kill()
            worker.communicate()

    def _start(self) -> None:
        worker = str(Path(__file__).with_name("chat_template_worker.py"))
        self._worker = subprocess.Popen(
            [sys.executable, worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it
        )
        self._ask(self._first)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._worker and self._worker.stdin
        try:
            self._worker.stdin.write(json.dumps(request).encode() + b"\n")
            self._worker.stdin.flush()
            answer = json.loads(self._line())
        except (OSError, ValueError):
            self.close()
            because = "it took too much time or memory"
            what = f"the chat template of {self.source} was stopped"
            raise PocketError(what, because, WITHOUT.format(self.source)) from None
        if "error" in answer:
            verb = "refuses this conversation" if answer["error"] == "refused" else "fails"
            what = f"the chat template of {self.source} {verb}"
            raise PocketError(what, answer["because"], WITHOUT.format(self.source))
        return dict(answer)

    def _line(self) -> bytes:
        """The worker's answer; raises OSError if it takes longer than SECONDS, or ends."""
        assert self._worker and self._worker.stdout
        line, end, handle = b"", time.monotonic() + SECONDS, self._worker.stdout.fileno()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(handle, 65536) if ready else b""
            if not piece:
                raise OSError("no answer")
            line += piece
        return line


def load_template(folder: Path) -> ChatTemplate | None:
    """The chat template in a plan or next to a model; None if there is none."""
    for name in TEMPLATE_FILES:
        template = _template_in(folder / name)
        if template is not None:
            return ChatTemplate(template, special_tokens(folder), name)
    return None


def template_from(file: Path, folder: Path) -> ChatTemplate:
    """A template of the user's own, with the special tokens of a plan."""
    template = _template_in(file) if file.suffix == ".json" else read_text(file)
    if template is None:
        because = "it has no entry 'chat_template'"
        raise PocketError(f"{file} holds no chat template", because, "name a .jinja file")
    return ChatTemplate(template, special_tokens(folder), file.name)


def choose_template(folder: Path, own: Path | None = None) -> ChatTemplate | None:
    """The user's own template, or the plan's, or none."""
    return template_from(own, folder) if own else load_template(folder)


def special_tokens(folder: Path) -> dict[str, Any]:
    """The special tokens by name: bos_token, eos_token and so on."""
    facts = {**_json(folder / SPECIALS), **_json(folder / CONFIG)}
    found = {key: _content(value) for key, value in facts.items() if key.endswith("_token")}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def read_text(file: Path) -> str:
    """The text of a file that must be UTF-8."""
    return decoded(read_bytes(file), str(file))


def read_bytes(file: Path) -> bytes:
    """The content of a file."""
    try:
        return file.read_bytes()
    except OSError as error:
        near = [] if file.exists() else near_paths(file)
        hint = f"use {' or '.join(near)}" if near else "check the path"
        raise PocketError(f"{file} can't be read", error, hint) from None


def decoded(content: bytes, name: str) -> str:
    """Bytes as text; errors name the source `name`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        because = f"byte 0x{content[error.start]:02x} at {error.start} begins no character"
        hint = "convert it with iconv -f ISO-8859-1 -t UTF-8"
        raise PocketError(f"{name} is not UTF-8 text", because, hint) from None


def _template_in(file: Path) -> str | None:
    if not file.is_file():
        return None
    if file.suffix != ".json":
        return read_text(file)
    found = _json(file).get("chat_template")
    if isinstance(found, list):  # several templates, each with a name
        named = {entry.get("name"): entry.get("template") for entry in found}
        found = named.get("default", next(iter(named.values()), None))
    return found if isinstance(found, str) else None


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file does not exist: these files are optional."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PocketError(f"{file} can't be read", error, "repair or remove it") from None
    return body if isinstance(body, dict) else {}
