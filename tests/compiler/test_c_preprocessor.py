"""The preprocessor that finds a kernel's names."""

import pytest

from opencl_kernels import KERNELS, family_of, source_text
from opencl_kernels.tuned import default_knobs
from toolkit.compiler.c_preprocessor import Preprocessor, declared
from toolkit.errors import PocketError


def words(text: str) -> str:
    return " ".join(Preprocessor().tokens(text))


@pytest.mark.parametrize(
    "text, expanded",
    [
        ("a // b\n/* c\nd */ e", "a e"),
        ("#define A 1\nA B", "1 B"),
        ("#define A(x) <x>\nA A(2) A ((3, 4))", "A < 2 > < ( 3 , 4 ) >"),
        ("#define F(x, y) y x\nF(1, (2, 3))", "( 2 , 3 ) 1"),
        ("#define A A B\n#define B A\nA", "A A"),
        ("#define J(a, b) a##b\n#define N 3\nJ(x, N) J(x, 1)", "xN x1"),
        ("#define J_(a, b) a##b\n#define J(a, b) J_(a, b)\n#define N 3\nJ(x, N)", "x3"),
        ("#define J(a, b) a##b\n#define xy 7\nJ(x, y)", "7"),
        ("#define A(i) p##i,\n#define E2(f) f(0) f(1)\n#define E(f) E2(f)\nE(A)", "p0 , p1 ,"),
        ("#define A \\\n  1 \\\n  + 2\nA", "1 + 2"),
        ("#define F(x) x\nF(1\n2)", "1 2"),
        ("#define A 1\n#undef A\nA", "A"),
        ("#if 1\na\n#elif 1\nb\n#else\nc\n#endif\nd", "a d"),
        ("#if 0\na\n#if 1\nb\n#endif\n#elif 1\nc\n#else\nd\n#endif", "c"),
        ("#ifdef X\na\n#else\nb\n#endif\n#ifndef X\nc\n#endif", "b c"),
        ("#define X 4\n#if defined(X) && !defined Y && X * 2 >= 7\na\n#endif", "a"),
        ("#define X 7u\n#if X % 4 == 3 || MISSING / 0\na\n#endif", "a"),
        ("#define K 5\n#define D(a, b) (((a) + (b) - 1) / (b))\n#if D(K, 4) == 2\na\n#endif", "a"),
        ('f("a b", 1.0e-5f, x->y)', 'f ( "a b" , 1.0e-5f , x - > y )'),
    ],
)
def test_expands(text: str, expanded: str) -> None:
    assert words(text) == expanded


@pytest.mark.parametrize(
    "text", ["#define F(x, ...) x", "#if 1 +\n#endif", "#endif", "#define F(x) x\nF(1"]
)
def test_says_what_it_does_not_understand(text: str) -> None:
    with pytest.raises(PocketError):
        words(text)


@pytest.mark.parametrize(
    "text, names",
    [
        ("int f(int a, float4 b) { int c = a; return c; }", "f"),
        ("static inline ulong16 f(void) { return g(); } void g() { { int x; } }", "f g"),
        ("typedef struct { int id; float v; } Best; typedef Best *Pointer;", "Best Pointer"),
        (
            "struct pair { int a, b; }; enum { ONE, TWO = 2, SIX = TWO * THREE };",
            "pair ONE TWO SIX",
        ),
        ("__constant float t[N] = {M_PI, 2}; __constant int u = INT_MAX, v = 2;", "t u v"),
        ("__attribute__((noinline)) size_t f(__global const half *p);", "f"),
    ],
)
def test_finds_names_of_the_file(text: str, names: str) -> None:
    assert list(dict.fromkeys(declared(Preprocessor().tokens(text)))) == names.split()


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_declares_itself(name: str) -> None:
    kernel = KERNELS[name]
    case = next(c for c in family_of(name).cases if kernel.supports(c) is None)
    defines = kernel.defines(case, default_knobs(kernel, kernel.classes[0]))
    header = "".join(f"#define {key} {value}\n" for key, value in defines.items())
    names = set(declared(Preprocessor().tokens(header + source_text(kernel.source))))
    assert kernel.name in names and "load_some_0" in names
    assert (f"{kernel.name}_body" in names) or kernel.classes != ("cpu",)
