"""How an execution ran: who ran below whom, what ended what, what was done again. Linear in the number of steps."""

from bisect import bisect_left

import msgspec

from collector.mapping.tree import TOP, Tree, grow
from collector.model import Step

OUTSIDE = frozenset(("http", "rpc", "db", "messaging"))
Fingerprint = tuple[int, str, str, str | None]


class Flow(msgspec.Struct):
    """Lists by position in `steps`, which are in start order."""

    steps: list[Step]
    tree: Tree
    children: list[list[int]]
    ends: list[int]
    """Ends in nanoseconds; the start where no end is known."""
    inner_ns: list[int]
    """Time that at least one child was running."""
    latest_below: list[int]
    """When the last child of each step started; 0 without children."""
    started_ns: int
    ended_ns: int
    root: int
    retry_of: list[int]
    """The failed attempt right before, or TOP."""
    recovered: list[bool]
    """Failed, and a later attempt of the same succeeded."""
    owner: list[int]
    """The nearest agent above each step, or its topmost ancestor: who decides what is done next."""
    models: dict[int, list[int]]
    """Model calls by their owner, in start order."""
    repeats: dict[Fingerprint, list[int]]
    """Steps with the same parent, kind, name and input, in start order; those that ran once are left out."""
    places: dict[int, tuple[int, int]]
    """Of steps in `repeats`: which of how many."""

    @property
    def total_ns(self) -> int:
        return max(self.ended_ns - self.started_ns, 1)

    def parent(self, position: int) -> int:
        return self.tree.parents[position]

    def share(self, position: int) -> float:
        """The part of the execution's time in which this step ran."""
        begin, end = max(self.steps[position].start_ns, self.started_ns), min(self.ends[position], self.ended_ns)
        return max(end - begin, 0) / self.total_ns

    def self_ns(self, position: int) -> int:
        """Time that no child accounts for."""
        return max(self.ends[position] - self.steps[position].start_ns - self.inner_ns[position], 0)

    def went_on(self, position: int) -> bool:
        """Whether something else began beside this step after it had ended."""
        parent = self.tree.parents[position]
        return parent != TOP and self.latest_below[parent] >= self.ends[position]


def run(steps: list[Step], root_span_id: bytes, failed: list[bool], hollow: list[bool]) -> Flow:
    """The flow of steps that are in start order; `failed` says which ended badly, `hollow` which gave nothing."""
    tree = grow(steps)
    children: list[list[int]] = [[] for _ in steps]
    for position, parent in enumerate(tree.parents):
        if parent != TOP:
            children[parent].append(position)
    ends = [step.start_ns + (step.duration_ns or 0) for step in steps]
    flow = Flow(
        steps=steps,
        tree=tree,
        children=children,
        ends=ends,
        inner_ns=[_covered(steps, ends, below) for below in children],
        latest_below=[steps[below[-1]].start_ns if below else 0 for below in children],
        started_ns=min((step.start_ns for step in steps), default=0),
        ended_ns=max(ends, default=0),
        root=_root(steps, tree, root_span_id),
        retry_of=[TOP] * len(steps),
        recovered=[False] * len(steps),
        owner=_owners(steps, tree),
        models={},
        repeats={},
        places={},
    )
    for position, step in enumerate(steps):
        if step.kind == "llm":
            flow.models.setdefault(flow.owner[position], []).append(position)
    _attempts(flow, failed, hollow)
    return flow


def _root(steps: list[Step], tree: Tree, root_span_id: bytes) -> int:
    tops = [position for position, parent in enumerate(tree.parents) if parent == TOP]
    named = [position for position in tops if steps[position].span_id == root_span_id]
    return (named or tops or [TOP])[0]


def _owners(steps: list[Step], tree: Tree) -> list[int]:
    owners = list(range(len(steps)))
    for position in tree.order:
        parent = tree.parents[position]
        if parent != TOP:
            owners[position] = parent if steps[parent].kind == "agent" else owners[parent]
    return owners


def _covered(steps: list[Step], ends: list[int], below: list[int]) -> int:
    """The length of the union of the children's times; they come in start order."""
    covered = reached = 0
    for position in below:
        begin = max(steps[position].start_ns, reached)
        if ends[position] > begin:
            covered += ends[position] - begin
            reached = ends[position]
    return covered


def fingerprint(flow: Flow, position: int) -> Fingerprint:
    step = flow.steps[position]
    # Requests and queries without their text are not told apart by their names.
    given = str(position) if step.input is None and step.kind in OUTSIDE else step.input
    return flow.tree.parents[position], step.kind, step.tool or step.name, given


def _attempts(flow: Flow, failed: list[bool], hollow: list[bool]) -> None:
    """Finds retries: the same work, below the same parent, begun after a failed one had ended."""
    groups: dict[Fingerprint, list[int]] = {}
    for position in range(len(flow.steps)):
        groups.setdefault(fingerprint(flow, position), []).append(position)
    for key, group in groups.items():
        if len(group) == 1:
            continue
        flow.repeats[key] = group
        worked = False
        for place in range(len(group) - 1, -1, -1):
            position = group[place]
            flow.places[position] = place, len(group)
            flow.recovered[position] = failed[position] and worked
            worked = worked or not (failed[position] or hollow[position])
            before = group[place - 1] if place else TOP
            if before != TOP and failed[before] and flow.ends[before] <= flow.steps[position].start_ns:
                flow.retry_of[position] = before


LOOK_BACK = 20


def model_before(flow: Flow, position: int) -> int:
    """The last model call of the same owner that had ended when this step began, or TOP."""
    calls = flow.models.get(flow.owner[position], [])
    begin = bisect_left(calls, position)
    for call in reversed(calls[max(begin - LOOK_BACK, 0) : begin]):
        if flow.ends[call] <= flow.steps[position].start_ns:
            return call
    return TOP


def first_attempt(flow: Flow, position: int) -> int:
    """The attempt that started a row of retries; the step itself where it is none."""
    for _ in range(len(flow.steps)):
        if flow.retry_of[position] == TOP:
            break
        position = flow.retry_of[position]
    return position
