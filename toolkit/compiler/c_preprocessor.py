"""A small C preprocessor: the tokens of a kernel's text after macro expansion.

It is for finding names, not for compiling: macros that only the device's compiler defines count as
undefined, and pragmas are dropped. Expansion follows Prosser's algorithm (ANSI X3J11/86-196), in
which each token has a set of macros that may not be expanded in it again. Variadic macros are
refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from toolkit.errors import PocketError

TOKEN = re.compile(
    r"[A-Za-z_]\w*|\.?\d(?:[eEpP][+-]|[\w.])*"
    r'|"(?:\\.|[^"\\])*"|##|&&|\|\||[=!<>]=|<<|>>|\S'
)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
DEFINE = re.compile(r"([A-Za-z_]\w*)(\(([^)]*)\))?(.*)", re.S)
NUMBER = re.compile(r"(0[xX][\da-fA-F]+|\d+)[uUlL]*")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
KNOWN = re.compile(  # names that the file does not declare itself
    r"__\w+|\w+_t|(u?(char|short|int|long)|float|double|half|bool)(2|3|4|8|16)?|void|unsigned"
    r"|signed|const|constant|global|local|private|kernel|static|inline|extern|volatile|restrict"
    r"|typedef|struct|union|enum|attribute"
)
C_OPERATORS = {"&&": " and ", "||": " or ", "!": " not ", "/": "//"}


class Token(NamedTuple):
    """A token of C, and the macros that may not be expanded in it again."""

    text: str
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Macro:
    """A `#define`; `parameters` is None for an object-like macro."""

    parameters: tuple[str, ...] | None
    body: tuple[str, ...]


@dataclass
class Branch:
    """An open `#if`: whether its current branch is read, and whether a branch has been."""

    reads: bool
    done: bool


@dataclass
class Preprocessor:
    """The macros and open branches at a point of the text, which is read from top to bottom."""

    macros: dict[str, Macro] = field(default_factory=dict)
    branches: list[Branch] = field(default_factory=list)

    def tokens(self, text: str) -> list[str]:
        """The expanded tokens of a text."""
        found, waiting = list[str](), list[str]()
        for line in COMMENT.sub(" ", text.replace("\\\n", "")).split("\n"):
            directive = re.match(r"\s*#\s*(\w*)\s*(.*)", line)
            if directive:
                found += self._expanded(waiting)
                waiting = []
                self._direct(directive[1], directive[2])
            elif self._reads():
                waiting += TOKEN.findall(line)
        return found + self._expanded(waiting)

    def _reads(self) -> bool:
        return all(branch.reads for branch in self.branches)

    def _expanded(self, words: list[str]) -> list[str]:
        return [token.text for token in self.expand([Token(word) for word in words])]

    def _direct(self, name: str, rest: str) -> None:
        if name in ("if", "ifdef", "ifndef"):
            holds = self._reads() and self._holds(name, rest)
            self.branches.append(Branch(holds, holds))
        elif name in ("elif", "else", "endif"):
            self._next_branch(name, rest)
        elif self._reads() and name == "define":
            self._define(rest)
        elif self._reads() and name == "undef":
            self.macros.pop(rest.strip(), None)

    def _next_branch(self, name: str, rest: str) -> None:
        if not self.branches:
            raise PocketError(f"#{name} without #if", "the text is not OpenCL C")
        branch = self.branches.pop()
        if name == "endif":
            return
        reads = not branch.done and self._reads() and (name == "else" or self._holds("if", rest))
        self.branches.append(Branch(reads, branch.done or reads))

    def _define(self, rest: str) -> None:
        found = DEFINE.match(rest)
        if found is None or "..." in (found[3] or ""):
            what = f"#define {rest:.60} is not understood"
            raise PocketError(what, "it is malformed or variadic")
        names = None
        if found[2] is not None:
            names = tuple(filter(None, map(str.strip, found[3].split(","))))
        self.macros[found[1]] = Macro(names, tuple(TOKEN.findall(found[4])))

    def _holds(self, name: str, rest: str) -> bool:
        if name != "if":
            return (rest.split()[0] in self.macros) == (name == "ifdef")
        asked = re.sub(
            r"defined\s*(?:\(\s*(\w+)\s*\)|(\w+))",
            lambda m: str(int((m[1] or m[2]) in self.macros)),
            rest,
        )
        return bool(_value(" ".join(self._expanded(TOKEN.findall(asked)))))

    def expand(self, tokens: list[Token]) -> list[Token]:
        """The tokens with all macros expanded."""
        found: list[Token] = []
        left = tokens[::-1]  # a stack: the next token is at its end
        while left:
            token = left.pop()
            macro = self.macros.get(token.text)
            call = macro is not None and token.text not in token.hidden
            if macro is None or not call:
                found.append(token)
            elif macro.parameters is None:
                left += self._body(macro, {}, token.hidden | {token.text})[::-1]
            elif left and left[-1].text == "(":
                arguments, closing = _arguments(left)
                names = dict(zip(macro.parameters, arguments, strict=False))
                hidden = (token.hidden & closing.hidden) | {token.text}
                left += self._body(macro, names, hidden)[::-1]
            else:
                found.append(token)
        return found

    def _body(
        self, macro: Macro, arguments: dict[str, list[Token]], hidden: frozenset[str]
    ) -> list[Token]:
        """The macro's body with arguments substituted and `##` applied."""
        out: list[Token] = []
        body = macro.body
        for i, word in enumerate(body):
            if word == "##":
                continue
            pasted = i > 0 and body[i - 1] == "##"
            is_raw = pasted or body[i + 1 : i + 2] == ("##",)
            tokens = arguments.get(word, [Token(word)])
            if word in arguments and not is_raw:  # operands of `##` are not expanded
                tokens = self.expand(tokens)
            if pasted and out and tokens:
                first = tokens[0]
                out[-1] = Token(out[-1].text + first.text, out[-1].hidden & first.hidden)
                tokens = tokens[1:]
            out += tokens
        return [Token(token.text, token.hidden | hidden) for token in out]


def _arguments(left: list[Token]) -> tuple[list[list[Token]], Token]:
    """Pop the arguments of a call and its closing parenthesis from the stack `left`."""
    left.pop()
    arguments, depth = [list[Token]()], 0
    while left:
        token = left.pop()
        if token.text == ")" and depth == 0:
            return arguments, token
        if token.text == "," and depth == 0:
            arguments.append([])
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        arguments[-1].append(token)
    raise PocketError("the arguments of a macro don't end", "a parenthesis is missing")


def _value(expression: str) -> int:
    """The value of an integer expression of `#if`; names without a macro are zero."""
    words = list[str]()
    for word in TOKEN.findall(expression):
        number = NUMBER.fullmatch(word)
        name = IDENTIFIER.fullmatch(word)
        words.append("0" if name else number[1] if number else C_OPERATORS.get(word, word))
    try:
        return int(eval("".join(words).strip(), {"__builtins__": {}}))
    except (SyntaxError, TypeError, ArithmeticError) as error:
        raise PocketError(f"#if {expression} is not understood", error) from None


def declared(tokens: list[str]) -> Iterator[str]:
    """The names that expanded tokens declare for the whole file: functions, types, constants."""
    depth, parentheses, value, enum = 0, 0, False, 0
    for i, token in enumerate(tokens):
        depth += {"{": 1, "}": -1}.get(token, 0)
        parentheses += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token, 0)
        if token == "{" and depth == 1 and "enum" in tokens[max(i - 2, 0) : i]:
            enum = 1
        enum = 0 if depth == 0 else enum
        if parentheses == 0 and depth == 0:
            value = token == "=" or (value and token not in (";", ","))
        if not IDENTIFIER.fullmatch(token) or KNOWN.fullmatch(token) or parentheses or value:
            continue
        if depth == 0 or (enum and depth == 1 and tokens[i - 1] in ("{", ",")):
            yield token
