"""Reads the kernel of an LLVM module; raises ValueError for what OpenCL C's kernels never have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from toolkit.bench.counting.cursor import Cursor
from toolkit.bench.counting.ir import AFTER, Block, Function, Instruction
from toolkit.bench.counting.ir_types import Names, Type, parse_type

VOID, POINTER = Type("void"), Type("ptr", 64)
FLAGS = (
    "nsw|nuw|exact|fast|nnan|ninf|nsz|arcp|contract|afn|reassoc|disjoint|nneg|samesign|volatile"
    "|tail|musttail|notail|spir_func|inbounds|nusw|atomic"
)
BINARY = (
    *("add", "sub", "mul", "sdiv", "udiv", "srem", "urem", "shl", "lshr", "ashr", "and", "or"),
    *("xor", "fadd", "fsub", "fmul", "fdiv", "frem"),
)
CASTS = (
    *("trunc", "zext", "sext", "fptrunc", "fpext", "fptoui", "fptosi", "uitofp", "sitofp"),
    *("bitcast", "ptrtoint", "inttoptr", "addrspacecast"),
)
LABEL = r"\s*,?\s*label %([\w.\-]+)"
IGNORED = re.compile(r"@llvm\.(lifetime|experimental\.noalias|assume|dbg)|^\s*#dbg_")
LOCAL = re.compile(r"@([\w.]+) = .*?addrspace\(3\) global ")
CONSTANT = re.compile(r"^@[\w.]+ = .*?(?:addrspace\(2\)|constant) ", re.M)
DECLARED = re.compile(r"^(%[\w.]+) = type (.*)$", re.M)


def read_kernel(text: str, name: str) -> Function:
    """The function of a module that is the kernel of this name."""
    found = re.search(rf"^define [^\n]*spir_kernel void @{name}\(", text, re.M)
    if found is None or CONSTANT.search(text):
        raise ValueError(f"no kernel {name} without tables of constants")
    head, body = text[found.end() : text.index("\n}", found.end())].split("\n", 1)
    names = Names()
    for declared in DECLARED.finditer(text):
        known = declared[2] != "opaque"  # an image is
        names[declared[1]] = parse_type(declared[2], 0, names)[0] if known else VOID
    addresses, local_bytes = _locals(text, names)
    parameters = tuple(re.findall(r"%([\w.\-]+)(?=\s*[,)])", head))
    blocks = {block.name: block for block in _blocks(body, len(parameters), names, addresses)}
    return Function(name, parameters, blocks, local_bytes)


def _locals(text: str, names: Names) -> tuple[dict[str, int], int]:
    """Where the variables in local memory lie, and how many bytes they take."""
    addresses, end = {}, 0
    for found in LOCAL.finditer(text):
        kind, _ = parse_type(text, found.end(), names)
        align = re.match(r"[^\n]*align (\d+)", text[found.end() :])
        step = int(align[1]) if align else kind.alignment
        addresses[found[1]] = -(-end // step) * step
        end = addresses[found[1]] + kind.size
    return addresses, end


def _blocks(body: str, parameters: int, names: Names, addresses: dict[str, int]) -> Iterator[Block]:
    """Blocks; a barrier ends one, since there items wait for each other."""
    block = Block(str(parameters))  # LLVM numbers the first block after the parameters
    for line in _lines(body):
        if label := re.match(r"([\w.\-]+):", line):
            if block.instructions:
                yield block
            block = Block(label[1])
        else:
            made = _instruction(Cursor(line, names, addresses))
            block.instructions.append(made)
            if made.op == "barrier":
                after = f"{block.name}{AFTER}"
                block.instructions[-1] = Instruction("barrier", VOID, more=((), (after,)))
                yield block
                block = Block(after)
    yield block


def _lines(body: str) -> Iterator[str]:
    """Instructions, a switch in one line, without what they say for optimisers."""
    joined = re.sub(r"\[\n(.*?)\n\s*\]", lambda m: m[0].replace("\n", " "), body, flags=re.S)
    for line in joined.splitlines():
        line = re.sub(r"(, ![\w.]+( !\d+)?)+$|\s*;.*$", "", line.rstrip())
        if line.strip() and not IGNORED.search(line):
            yield line.strip()


def _instruction(at: Cursor) -> Instruction:
    result = at.match(r"%([\w.\-]+) = ")
    at.skip(FLAGS)
    op = at.expect(r"\s*(\w+)")[1]
    at.skip(FLAGS)
    made = READERS[op](op, at) if op in READERS else None
    if made is None:
        raise ValueError(f"an instruction that is not known: {at.text}")
    return Instruction(made.op, made.type, made.operands, result[1] if result else "", made.more)


def _binary(op: str, at: Cursor) -> Instruction:
    left = at.typed()
    operands = [left]
    while at.match(r"\s*,"):
        operands.append(at.value(left.type))
    return Instruction(op, left.type, tuple(operands))


def _compare(op: str, at: Cursor) -> Instruction:
    predicate = at.expect(r"\s*(\w+)")[1]
    both = _binary(op, at)
    return Instruction(op, Type("int", 1, both.type.lanes), both.operands, more=predicate)


def _cast(op: str, at: Cursor) -> Instruction:
    operand = at.typed()
    at.expect(r"\s*to\b")
    return Instruction(op, at.type(), (operand,))


def _several(op: str, at: Cursor) -> Instruction:
    """select, extractelement, insertelement, shufflevector, store, ret."""
    if at.match(r"\s*void"):
        return Instruction(op, VOID)
    at.undefined = -1 if op == "shufflevector" else 0  # of the mask
    found = tuple(at.listed())
    kinds = {
        "select": lambda: found[1].type,
        "extractelement": lambda: found[0].type.scalar,
        "insertelement": lambda: found[0].type,
        "shufflevector": lambda: Type(
            found[0].type.kind, found[0].type.bits, found[2].type.lanes, found[0].type.space
        ),
    }
    return Instruction(op, kinds[op]() if op in kinds else VOID, found)


def _load(op: str, at: Cursor) -> Instruction:
    kind = at.type()
    at.expect(r"\s*,")
    return Instruction(op, kind, (at.typed(),))


def _step(op: str, at: Cursor) -> Instruction:
    at.match(r"(?:\s+(?:inrange|nusw|nuw)(?:\([^()]*\))?)*")
    stepped = at.type()
    at.expect(r"\s*,")
    operands = tuple(at.listed())
    return Instruction(op, operands[0].type, operands, more=stepped)


def _alloca(op: str, at: Cursor) -> Instruction:
    return Instruction(op, POINTER, more=at.type())


def _phi(op: str, at: Cursor) -> Instruction:
    kind, operands, sources = at.type(), [], []
    while at.match(r"\s*,?\s*\["):
        operands.append(at.value(kind))
        sources.append(at.expect(r"\s*,\s*%([\w.\-]+)\s*\]")[1])
    return Instruction(op, kind, tuple(operands), more=tuple(sources))


def _branch(op: str, at: Cursor) -> Instruction:
    """`more`: values that lead to labels (of a switch), the labels; the last without a value."""
    if one := at.match(LABEL):
        return Instruction(op, VOID, more=((), (one[1],)))
    condition = at.typed()
    first = at.expect(LABEL)[1]
    if op == "br":
        return Instruction(op, VOID, (condition,), more=((1,), (first, at.expect(LABEL)[1])))
    at.expect(r"\s*\[")
    cases = []
    while not at.match(r"\s*\]"):
        value = at.typed().constant
        assert value is not None
        cases.append((int(value[0]), at.expect(LABEL)[1]))
    values, labels = tuple(v for v, _ in cases), tuple(label for _, label in cases)
    return Instruction(op, VOID, (condition,), more=(values, (*labels, first)))


def _call(op: str, at: Cursor) -> Instruction:
    at.match(r"(?:\s*(?:noundef|nonnull|zeroext|signext|range\([^()]*\)))*")
    kind = at.type()
    name = at.expect(r"\s*(?:\([^()]*\)\s*)?@([\w.]+)\s*\(")[1]
    operands = () if at.match(r"\s*\)") else tuple(at.listed())
    if re.match(r"_Z\d+(work_group_)?barrier", name):
        return Instruction("barrier", VOID)
    return Instruction(op, kind, operands, more=name)


READERS: dict[str, Callable[[str, Cursor], Instruction]] = {
    **dict.fromkeys((*BINARY, "fneg", "freeze"), _binary),
    **dict.fromkeys(("icmp", "fcmp"), _compare),
    **dict.fromkeys(CASTS, _cast),
    **dict.fromkeys(
        ("select", "extractelement", "insertelement", "shufflevector", "store", "ret"), _several
    ),
    **{"load": _load, "getelementptr": _step, "alloca": _alloca, "phi": _phi, "call": _call},
    **dict.fromkeys(("br", "switch"), _branch),
}
