"""In which order blocks run where items of a wave are in different ones: the lowest first.

Items that left a loop wait behind it for the others, as on GPUs: so every loop's blocks stand
together, those that follow it after them.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.bench.counting.ir import Block

Graph = Mapping[str, tuple[str, ...]]


def block_order(blocks: Mapping[str, Block]) -> list[str]:
    """The names of all blocks that can be reached, first the entry's."""
    graph = {name: block.successors for name, block in blocks.items()}
    entry = next(iter(graph))
    return _reverse_postorder(graph, entry, loops(graph))


def _reverse_postorder(graph: Graph, entry: str, bodies: Mapping[str, set[str]]) -> list[str]:
    """Of a block's successors those in fewer of its loops are visited first, so they come last."""
    done: list[str] = []
    seen = {entry}

    def later_first(name: str) -> list[str]:
        around = [body for body in bodies.values() if name in body]
        return sorted(graph[name], key=lambda each: sum(each in body for body in around))

    stack = [(entry, iter(later_first(entry)))]
    while stack:
        following = next((each for each in stack[-1][1] if each not in seen), None)
        if following is None:
            done.append(stack.pop()[0])
        else:
            seen.add(following)
            stack.append((following, iter(later_first(following))))
    return done[::-1]


def loops(graph: Graph) -> dict[str, set[str]]:
    """The blocks of each loop, by its header: what reaches a jump back without passing that."""
    entry = next(iter(graph))
    before: dict[str, list[str]] = {name: [] for name in graph}
    for name, following in graph.items():
        for each in following:
            before[each].append(name)
    dominators = _dominators(before, _reverse_postorder(graph, entry, {}))
    found: dict[str, set[str]] = {}
    for last, header in ((name, each) for name in dominators for each in graph[name]):
        if header in dominators[last]:
            body, todo = found.setdefault(header, {header}), [last]
            while todo:
                if (each := todo.pop()) not in body:
                    body.add(each)
                    todo += before[each]
    return found


def _dominators(before: Mapping[str, list[str]], order: list[str]) -> dict[str, set[str]]:
    """Of each block, those that every way to it passes."""
    found = {name: set(order) for name in order}
    found[order[0]] = {order[0]}
    changed = True
    while changed:
        changed = False
        for name in order[1:]:
            ways = [found[each] for each in before[name] if each in found]
            now = set.intersection(*ways) | {name}
            changed, found[name] = changed or now != found[name], now
    return found
