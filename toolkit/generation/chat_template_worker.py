"""Renders a chat template in a process of its own: a template is untrusted code.

Jinja2's sandbox keeps it away from Python's internals; limits on memory, time and the length of
the text stop a template that never ends or grows without bound. One JSON line in, one out:
{"template", "names"} first, then {"messages", "add_generation_prompt"} -> {"text"}, or
{"error", "because"}. It is started as a file, without the other modules of this package.
"""

import datetime
import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import ext, nodes, parser, sandbox

MEMORY = 512 * 2**20  # bytes of address space
SECONDS = 10  # of CPU time for one text
LONGEST = 4 * 2**20  # characters


class _Generation(ext.Extension):
    """`{% generation %}` marks the answers for training; here it renders its content."""

    tags = {"generation"}  # noqa: RUF012  (Jinja2 declares it so)

    def parse(self, parser: parser.Parser) -> list[nodes.Node]:
        """The nodes up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def prepare(template: str) -> jinja2.Template:
    """The template with the helpers that Hugging Face's own renderer gives it."""
    extensions = [_Generation, ext.loopcontrols]
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=extensions
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda text: datetime.datetime.now().strftime(text)
    return environment.from_string(template)


def render(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """The text; raises OverflowError if it becomes too long."""
    pieces, length = [], 0
    for piece in template.generate(**values, tools=None, documents=None):
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST:
            raise OverflowError(f"its text has more than {LONGEST} characters")
    return "".join(pieces)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _limit() -> None:
    """Give the next text SECONDS of CPU time, on top of what the process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _problem(error: BaseException) -> dict[str, str]:
    line = getattr(error, "lineno", None)
    where = f" (line {line})" if line else ""
    if type(error) is jinja2.TemplateError:  # raise_exception: the message is the template's own
        return {"error": "refused", "because": str(error)}
    if isinstance(error, MemoryError):
        return {"error": "failed", "because": f"it takes more than {MEMORY // 2**20} MiB"}
    return {"error": "failed", "because": f"{type(error).__name__}: {error}{where}"}


def main() -> None:
    """Answer lines until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    template, names = None, {}
    for line in sys.stdin:
        answer: dict[str, str] = {}
        try:
            _limit()
            request = json.loads(line)
            if template is None:
                names = request["names"]
                template = prepare(request["template"])
            else:
                answer = {"text": render(template, {**names, **request})}
        except Exception as error:  # untrusted code may raise anything
            answer = _problem(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
