"""What an execution says of itself, by rules over all its steps that no order can change."""

from collections.abc import Callable, Sequence

from collector.mapping.gaps import gaps
from collector.mapping.totals import Totals
from collector.mapping.tree import Tree
from collector.mapping.values import MAX_LABEL
from collector.model import Facts, Step, StepExtra

SPEAKERS = frozenset({"agent", "llm", "chain"})
"""Kinds whose output may stand for the execution's where the root has none."""


def root_of(tree: Tree) -> int:
    """The step that names the execution: the earliest without a parent, else the earliest whose parent is missing."""
    steps = tree.steps
    tops = [i for i, step in enumerate(steps) if not step.parent_span_id] or tree.orphans
    return min(tops, key=lambda i: (steps[i].start_ns, steps[i].span_id))


def compute(tree: Tree, totals: Totals, notes: list[str]) -> Facts:
    """The facts of a tree that has at least one step; `notes` are further warnings."""
    root = root_of(tree)
    step, extras = tree.steps[root], [step.extra for step in tree.steps if step.extra is not None]
    metadata = _bearer(tree, root, lambda extra: extra.metadata)
    environment = _bearer(tree, root, lambda extra: extra.environment)
    return Facts(
        # The least, as ingest has it: an execution has two of them only by a sender's mistake.
        execution_id=_cut(min((extra.execution_id for extra in extras if extra.execution_id), default=None)),
        name=step.name,
        kind=step.kind,
        service=_cut(step.service),
        root_span_id=step.span_id,
        root_missing=bool(step.parent_span_id),
        status="error" if step.status == "error" else "ok",
        session_id=_cut(_agreed(tree, root, lambda each: each.session_id)),
        user_id=_cut(_agreed(tree, root, lambda each: each.user_id)),
        tags=list(dict.fromkeys(tag for extra in extras for tag in extra.tags or ())),
        environment=environment.environment if environment else None,
        metadata=bytes(metadata.metadata).decode() if metadata and metadata.metadata else None,
        final_outcome=_outcome(tree, root),
        tokens=totals.tokens,
        cost_usd=totals.cost_usd,
        prices_at=totals.prices_at,
        models=sorted({step.model for step in tree.steps if step.model}),
        plumbing=_is_plumbing(tree.steps),
        warnings=[*gaps(tree), *notes, *totals.warnings],
    )


def _is_plumbing(steps: Sequence[Step]) -> bool:
    """Health checks and the like alone, or one query that belongs to nothing (a client's polls) and went well."""
    if len(steps) == 1 and steps[0].kind == "db" and not steps[0].parent_span_id and steps[0].status != "error":
        return True
    return all(step.extra is not None and step.extra.plumbing for step in steps)


def _agreed(tree: Tree, root: int, value: Callable[[Step], str | None]) -> str | None:
    """An id that holds for the whole execution: the root's, else the one that all topmost bearers agree on."""
    if own := value(tree.steps[root]):
        return own
    found = {value(tree.steps[i]) for i in tree.topmost([bool(value(step)) for step in tree.steps])}
    return found.pop() if len(found) == 1 else None


def _bearer(tree: Tree, root: int, value: Callable[[StepExtra], object]) -> StepExtra | None:
    """The root where it has the value, else the earliest of the topmost steps that have it."""
    bearing = [step.extra is not None and bool(value(step.extra)) for step in tree.steps]
    bearers = [root] if bearing[root] else tree.topmost(bearing)
    return tree.steps[bearers[0]].extra if bearers else None


def _cut(text: str | None) -> str | None:
    return text[:MAX_LABEL] if text else None


def _outcome(tree: Tree, root: int) -> str | None:
    """What came out: what the sender says, else the root's output, else the last word of its highest speakers."""
    said = _bearer(tree, root, lambda extra: extra.outcome)
    if said is not None and said.outcome:
        return bytes(said.outcome).decode()
    step = tree.steps[root]
    if step.output is not None or step.status == "error":
        return step.output
    spoken = [i for i, each in enumerate(tree.steps) if each.output is not None and each.kind in SPEAKERS]
    if not spoken:
        return None
    depths = tree.depths()
    highest = min(depths[i] for i in spoken)
    return tree.steps[max((i for i in spoken if depths[i] == highest), key=lambda i: _end(tree.steps[i]))].output


def _end(step: Step) -> tuple[int, int, bytes]:
    return step.start_ns + (step.duration_ns or 0), step.start_ns, step.span_id
