"""The steps of an execution as a tree: flat lists of positions, no recursion, cycles cut open."""

import msgspec

from collector.model import Step

TOP = -1
"""The parent of a step that hangs below nothing."""


class Tree(msgspec.Struct, frozen=True):
    """Positions into `steps`; `order` has every parent before its children."""

    steps: list[Step]
    parents: list[int]
    order: list[int]
    orphans: list[int]
    """Steps whose parent is named and not among the steps, or is their own descendant."""
    looped: int
    """How many loops of parents were cut open."""

    def carries_below(self, carries: list[bool]) -> list[bool]:
        """For each step, whether any of its descendants is marked in `carries`."""
        below = [False] * len(carries)
        if True not in carries:
            return below
        for i in reversed(self.order):
            parent = self.parents[i]
            if parent != TOP and (carries[i] or below[i]):
                below[parent] = True
        return below

    def carries_above(self, carries: list[bool]) -> list[bool]:
        """For each step, whether any of its ancestors is marked in `carries`."""
        above = [False] * len(carries)
        if True not in carries:
            return above
        for i in self.order:
            parent = self.parents[i]
            above[i] = parent != TOP and (carries[parent] or above[parent])
        return above

    def topmost(self, carries: list[bool]) -> list[int]:
        """The marked steps that have no marked ancestor, in start order."""
        above = self.carries_above(carries)
        return [i for i, carried in enumerate(carries) if carried and not above[i]]

    def depths(self) -> list[int]:
        """How many ancestors each step has."""
        depths = [0] * len(self.steps)
        for i in self.order:
            if self.parents[i] != TOP:
                depths[i] = depths[self.parents[i]] + 1
        return depths


def start_order(step: Step) -> tuple[int, float, bytes]:
    """Sorts steps by start; of two that start together the longer one is first, since it may hold the other."""
    return step.start_ns, -(float("inf") if step.duration_ns is None else step.duration_ns), step.span_id


def grow(steps: list[Step]) -> Tree:
    """The tree of `steps`, which have to be in start order."""
    positions: dict[bytes, int] = {}
    for i, step in enumerate(steps):
        positions.setdefault(step.span_id, i)
    parents = [positions.get(step.parent_span_id, TOP) if step.parent_span_id else TOP for step in steps]
    children: list[list[int]] = [[] for _ in steps]
    for i, parent in enumerate(parents):
        if parent != TOP:
            children[parent].append(i)
    order = [i for i, parent in enumerate(parents) if parent == TOP]
    _extend(order, 0, children)
    looped = _cut_loops(parents, order, children)
    orphans = [i for i, step in enumerate(steps) if parents[i] == TOP and step.parent_span_id]
    return Tree(steps, parents, order, orphans, looped)


def _extend(order: list[int], begin: int, children: list[list[int]]) -> None:
    """Appends everything below `order[begin:]`, level by level."""
    while begin < len(order):
        order.extend(children[order[begin]])
        begin += 1


def _cut_loops(parents: list[int], order: list[int], children: list[list[int]]) -> int:
    """Cuts each loop at its earliest step, which becomes a top, and completes `order`."""
    if len(order) == len(parents):
        return 0
    reached = [False] * len(parents)
    looped, marked = 0, 0
    for start in range(len(parents)):
        while marked < len(order):
            reached[order[marked]] = True
            marked += 1
        if reached[start]:
            continue
        first = min(_loop_above(start, parents))
        children[parents[first]].remove(first)
        parents[first] = TOP
        begin = len(order)
        order.append(first)
        _extend(order, begin, children)
        looped += 1
    return looped


def _loop_above(start: int, parents: list[int]) -> list[int]:
    """The steps of the loop that walking up from `start` runs into."""
    seen: set[int] = set()
    while start not in seen:
        seen.add(start)
        start = parents[start]
    loop, step = [start], parents[start]
    while step != start:
        loop.append(step)
        step = parents[step]
    return loop
