"""The runner's sources say one thing at a time: no comma operators."""

from __future__ import annotations

import pytest
from cpp_scan import comma_operators

from toolkit.toolchain.build import SOURCES

FILES = sorted(path for kind in ("*.cpp", "*.h") for path in SOURCES.rglob(kind))


@pytest.mark.parametrize("path", [path.relative_to(SOURCES).as_posix() for path in FILES])
def test_no_comma_operator(path: str) -> None:
    assert comma_operators((SOURCES / path).read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "a = 1, b = 2;",
        "if (x) a = 1, b = 2;",
        "if (x) { y(); } else a(1), b(2);",
        "return forget(key), true;",
        "while (next(), more) run();",
        "for (int i = 0; i < n; ++i, ++j) run(i);",
        "for (i = 0, j = 1; i < n; ++i) run(i);",
        "const int found = (first, second);",
        "values[i, j] = 0;",
        "wanted.push_back({1, 2}), more = true;",
        "run([&] { a = 1, b = 2; });",
        "state ^= state << 13, state ^= state >> 7;",
        "case 1: a = 1, b = 2;",
    ],
)
def test_a_comma_operator_is_found(line: str) -> None:
    assert comma_operators(f"void f() {{\n  run();\n  {line}\n}}\n") == [3]


@pytest.mark.parametrize(
    "line",
    [
        "int a = 1, b = 2;",
        "const std::string &a = x, &b = y;",
        "unsigned long a, b;",
        "for (size_t at = 0, end = 0; at < n; ++at) run(at, end);",
        "if (const auto [a, b] = both(); a) run(b);",
        "std::map<int, std::vector<int>> both{{1, {2, 3}}, {4, {5, 6}}};",
        "const auto sum = [&, this](int a, int b) -> int { return add(a, b); };",
        "print(\"a, b\", '\\'', 1);  // a, b",
        "run(a < b, c > d);",
        "return {a, b};",
        "struct { const char *name, *value; } pairs[] = {{a, b}, {c, d}};",
        "enum Kind { First, Second };",
        "using Table = std::map<int, int>;",
    ],
)
def test_other_commas_are_none(line: str) -> None:
    assert comma_operators(f"void f() {{\n  {line}\n  run();\n}}\n") == []


def test_initialisers_are_none() -> None:
    of_class = (
        "struct Both : First, Second {\n  Both(int a, int b) : a_(a), b_{b} { run(a, b); }\n};\n"
    )
    assert comma_operators(of_class) == []
