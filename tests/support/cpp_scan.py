"""Where C++ sources use the comma as an operator, found without a compiler.

A comma separates things in a call, a list, a declaration, a constructor's initialisers. Whatever is
left is the operator, which hides a second statement in a line. Macros are not looked into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HIDDEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"\((?:.*?)\)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|'
    r"^[ \t]*#(?:\\\n|[^\n])*",
    re.S | re.M,
)
TOKEN = re.compile(r"[A-Za-z_]\w*|\.?\d[\w.']*|::|->|&&|\|\||[<>=!+\-*/%&|^]=|\S")
NAME = re.compile(r"[A-Za-z_]\w*")
TYPE_TOKEN = re.compile(r"[\w:,*&<>()\[\].]+")  # of what may stand between < and >
QUALIFIERS = {"static", "const", "constexpr", "mutable", "inline", "extern", "volatile"}
NUMBERS = {"unsigned", "signed", "long", "short"}
JUMPS = {"return", "throw", "delete", "goto", "new", "case", "default", "else", "do", "sizeof"}
DECLARATOR = re.compile(
    r"(?:struct )?(?:[A-Za-z_]\w* :: )*([A-Za-z_]\w*)(?: [*&]| &&)* [A-Za-z_]\w*(?: |$)"
)
OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass
class Bracket:
    """What a comma directly inside it means follows from its kind; `statement` is what it holds."""

    kind: str  # block, list, call, group, for, control, capture, subscript
    of_lambda: bool = False
    clauses: int = 0
    statement: list[str] = field(default_factory=list)


def comma_operators(source: str) -> list[int]:
    """The lines, from 1, that have a comma operator."""
    text = HIDDEN.sub(lambda found: _blank(found.group()), source)
    tokens = [(t.group(), 1 + text.count("\n", 0, t.start())) for t in TOKEN.finditer(text)]
    tokens = _without_template_arguments(tokens)
    stack, found, last = [Bracket("block")], [], ""
    for token, line in tokens:
        inside = stack[-1]
        if token in OPENING:
            stack.append(_opened(token, last, inside))
        elif token in OPENING.values() and len(stack) > 1:
            _close(stack)
        elif token == "," and _is_operator(inside):
            found.append(line)
        if token not in OPENING.values():
            _note(stack if token in OPENING else [inside], token)
        last = "]lambda" if token == "]" and inside.kind == "capture" else token
    return found


def _blank(hidden: str) -> str:
    """As many lines; a literal stays a value."""
    return ('""' if hidden[0] in "\"'R" else " ") + "\n" * hidden.count("\n")


def _without_template_arguments(tokens: list[tuple[str, int]]) -> list[tuple[str, int]]:
    kept: list[tuple[str, int]] = []
    at = 0
    while at < len(tokens):
        end = _template_end(tokens, at) if tokens[at][0] == "<" else at
        if end == at:
            kept.append(tokens[at])
        at = end + 1
    return kept


def _template_end(tokens: list[tuple[str, int]], start: int) -> int:
    """Of the `<` at `start` the index of its `>`; `start` itself where it compares."""
    if start == 0 or not NAME.fullmatch(tokens[start - 1][0]):
        return start
    depth = 0
    for at in range(start, len(tokens)):
        token = tokens[at][0]
        depth += (token == "<") - (token == ">")
        if depth == 0:
            return at
        if not TYPE_TOKEN.fullmatch(token):
            return start
    return start


def _opened(token: str, last: str, inside: Bracket) -> Bracket:
    value = (bool(NAME.fullmatch(last)) and last not in JUMPS) or last in (")", "]", ">")
    if token == "[":
        bound = "auto" in (last, *inside.statement[-2:])  # const auto &[a, b] = both();
        return Bracket("list" if bound else "subscript" if value else "capture")
    if token == "(":
        called = value or last in ("]lambda", "}")
        kinds = {"for": "for", "if": "control", "while": "control", "switch": "control"}
        return Bracket(kinds.get(last, "call" if called else "group"))
    statement = inside.statement
    of_lambda = last == "]lambda" or "lambda" in statement
    if "enum" in statement[:2]:
        return Bracket("list")
    scope = set(statement) & {"struct", "class", "namespace", "union"} and "(" not in statement
    starts = inside.kind == "block" and not statement
    body = last in (")", "]lambda", "const", "noexcept", "override", "mutable", "try", "else", "do")
    body |= ("->" in statement and of_lambda) or (last == "}" and _initialisers(statement))
    return Bracket("block" if scope or starts or body else "list", of_lambda)


def _close(stack: list[Bracket]) -> None:
    closed = stack.pop()
    inside = stack[-1]
    if closed.kind == "capture":
        inside.statement.append("lambda")
    elif closed.kind in ("for", "control") or (closed.kind == "block" and not closed.of_lambda):
        inside.statement.clear()  # what comes next is a statement of its own
    elif closed.kind == "block":
        inside.statement.remove("lambda")


def _note(stack: list[Bracket], token: str) -> None:
    """Keep what the statement consists of, its brackets without their contents."""
    inside = stack[-2] if token in OPENING else stack[-1]
    if token == ";":
        inside.clauses += 1
    ends = token in (";", "else", "do") or (token == ":" and _is_label(inside))
    if ends:
        inside.statement.clear()
    else:
        inside.statement.append(token)


def _is_label(inside: Bracket) -> bool:
    first = inside.statement[:1]
    return inside.kind == "block" and first in (["case"], ["default"], ["public"], ["private"])


def _is_operator(inside: Bracket) -> bool:
    if inside.kind in ("call", "list", "capture"):
        return False
    if inside.kind in ("block", "control") or (inside.kind == "for" and inside.clauses == 0):
        return not (_is_declaration(inside.statement) or _initialisers(inside.statement))
    return True


def _initialisers(statement: list[str]) -> bool:
    """Of a constructor, or the bases of a class."""
    known = "?" not in statement and ":" in statement
    return known and ("(" in statement or bool({"struct", "class"} & set(statement)))


def _is_declaration(statement: list[str]) -> bool:
    words = [w for w in statement if w not in QUALIFIERS]
    if words[:1] == ["using"] or words[:1] == ["auto"]:
        return True
    while words[:1] and words[0] in NUMBERS:
        words[:1] = [] if len(words) > 2 and NAME.fullmatch(words[1]) else ["int"]
    found = DECLARATOR.match(" ".join(words))  # a type, then a name
    return bool(found) and found.group(1) not in JUMPS
