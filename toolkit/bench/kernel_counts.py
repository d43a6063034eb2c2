"""`bench --kernels --count`: what kernels of phones' GPUs ask for, counted on a CPU.

A kernel runs in waves as GPUs run them; figures are exact and the same each time, but they count
instructions and lines of memory, not seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from opencl_kernels import FAMILIES, KERNELS, Family, Kernel
from opencl_kernels.case import Case, case_id
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import Knobs, nbytes
from opencl_kernels.tuned import usual_knobs
from toolkit.bench.counting.launches import WAVES, Count, count_launch
from toolkit.errors import PocketError
from toolkit.nearest import unknown
from toolkit.tables import table

WORK = 1 << 23  # operations, or bytes, of the work-groups that run; of more each n-th runs
FEWEST = 3  # work-groups
ROOM = 32768  # bytes of local memory, of phones
HEAD = ("instr", "madd/load", "lines 64", "128", "weights", "local", "barriers", "private")


def count_kernels(
    names: Sequence[str] = (),
    case: str = "",
    device_class: str | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Count kernels: those named, else the best of each class for each case; keys as in `--json`.

    case          only cases whose name contains this
    device_class  one of WAVES; None: all of them
    """
    wanted, tell = choose(names, case, device_class), progress or (lambda *_: None)
    rows = []
    for done, (of_class, family, kernel, each, knobs) in enumerate(wanted):
        tell(f"{of_class} {kernel.name} {case_id(each)}", done, len(wanted))
        counted = count_launch(
            *(family, kernel, each, knobs, WAVES[of_class]),
            groups=groups_within(family, kernel, each, knobs),
        )
        rows.append({"class": of_class, **row(family, kernel, each, counted)})
    return {"waves": dict(WAVES), "kernels": rows}


Wanted = tuple[str, Family, Kernel, Case, Knobs]


def choose(names: Sequence[str], case: str, device_class: str | None) -> list[Wanted]:
    """The classes, kernels, cases and knobs asked for; raises where there are none."""
    for name in names:
        if name not in KERNELS:
            raise unknown(f"no kernel is called '{name}'", name, KERNELS, "leave out --kernel")
    if device_class is not None and device_class not in WAVES:
        what = f"kernels of class '{device_class}' are not counted"
        raise unknown(what, device_class, WAVES, f"give one of {', '.join(WAVES)}")
    classes = WAVES if device_class is None else (device_class,)
    every = [each for of_class in classes for each in _of_class(of_class, names)]
    if found := [each for each in every if case in case_id(each[3])]:
        return found
    because, hint = _why_not(names, device_class) if not every else _no_case(names, case)
    raise PocketError("nothing can be counted", because, hint)


def _why_not(names: Sequence[str], device_class: str | None) -> tuple[str, str]:
    """The cause where no case of kernels runs in a class, and the next step."""
    which = " and ".join(names)
    if able := [each for each in WAVES if any(_of_class(each, names))]:
        return f"class '{device_class}' has no case of {which}", f"--class {' or '.join(able)}"
    return f"{which} is for CPUs, which need no counting", "leave out --kernel"


def _no_case(names: Sequence[str], case: str) -> tuple[str, str]:
    which = " and ".join(names) or "these GPUs' kernels"
    return f"no case of {which} has '{case}' in its name", "leave out --case"


def _of_class(device_class: str, names: Sequence[str]) -> Iterator[Wanted]:
    for family in FAMILIES.values():
        for case in family.bench_cases:
            known = kernels_for(family, device_class, case)
            for kernel in [each for each in known if each.name in names] if names else known[:1]:
                knobs = usual_knobs(kernel, case, device_class, ROOM)
                if knobs is not None:
                    yield device_class, family, kernel, case, knobs


def groups_within(family: Family, kernel: Kernel, case: Case, knobs: Knobs) -> int:
    """As many work-groups as WORK allows."""
    size, local = kernel.grid(case, knobs)
    groups = int(prod(size)) // int(prod(local))
    return max(FEWEST, int(WORK * groups / max(*family.work(case), 1)))


def row(family: Family, kernel: Kernel, case: Case, counted: Count) -> dict[str, Any]:
    """A row of the report: figures of a whole launch, by what it has to do and to move."""
    needed, operations = family.work(case)
    issued, items = counted.issued, counted.wave * counted.whole
    multiply_adds = operations / 2
    lines = {line: counted.whole * _lines(counted, line) for line in (64, 128)}
    weights = [each for each in family.arguments(case) if each.role == "weight"]
    return {
        "kernel": kernel.name,
        "case": case_id(case),
        "wave": counted.wave,
        "groups": counted.of_groups,
        "groups_counted": counted.groups,
        "bytes": int(needed),
        "flops": int(operations),
        "instructions": items * issued.instructions,
        "instructions_per_multiply_add": _share(items * issued.instructions, multiply_adds),
        "line_bytes_64": lines[64],
        "line_bytes_128": lines[128],
        "group_line_bytes_64": counted.whole * _lines_of_groups(counted, 64),
        "lines_64_share": lines[64] / needed,
        "lines_128_share": lines[128] / needed,
        "weight_lines_share": _of_weights(counted, weights),
        "multiply_adds_per_load": _share(multiply_adds, items * sum(issued.loads.values())),
        "local_bytes": counted.local_bytes,
        "barriers": issued.barriers / issued.waves,
        "private_bytes": counted.private_bytes,
    }


def _share(part: float, whole: float) -> float | None:
    """None where there is nothing to share."""
    return part / whole if whole else None


def _lines(counted: Count, line: int, names: Sequence[str] | None = None) -> int:
    """Bytes of all lines that waves ask for; of these buffers."""
    each = counted.traffic if names is None else {name: counted.traffic[name] for name in names}
    return line * sum(one.read[line] + one.written[line] for one in each.values())


def _lines_of_groups(counted: Count, line: int) -> int:
    """The same where waves of a work-group that ask at once for a line get it once."""
    each = counted.traffic.values()
    return line * sum(one.together[line] + one.written[line] for one in each)


def _of_weights(counted: Count, weights: Sequence[Any]) -> float | None:
    if not weights:
        return None
    return (
        counted.whole
        * _lines(counted, 64, [each.name for each in weights])
        / nbytes(tuple(weights))
    )


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    waves = ", ".join(f"{wave} of {name}" for name, wave in figures["waves"].items())
    yield f"counted in waves of {waves}: not seconds, but what takes them"
    yield "  instr      instructions of an item for each multiply-add, or two other operations"
    yield "  madd/load  multiply-adds for each load of 16 bytes or less"
    yield "  lines      bytes of the lines that waves ask for, by those that the case needs"
    yield "  weights    the same of weights alone"
    yield "  local, private bytes of a work-group and of an item; barriers that an item passes"
    for device_class in dict.fromkeys(each["class"] for each in figures["kernels"]):
        yield ""
        rows = [each for each in figures["kernels"] if each["class"] == device_class]
        cells = ((*_cells(each), f"{each['kernel']} {each['case']}") for each in rows)
        yield from table([(*HEAD, device_class), *cells])


def _cells(each: dict[str, Any]) -> Iterator[str]:
    for name, digits in (
        ("instructions_per_multiply_add", 2),
        ("multiply_adds_per_load", 1),
        ("lines_64_share", 2),
        ("lines_128_share", 2),
        ("weight_lines_share", 2),
    ):
        yield "-" if each[name] is None else f"{each[name]:.{digits}f}"
    yield str(each["local_bytes"])
    yield f"{each['barriers']:.0f}"
    yield str(each["private_bytes"])
