"""What is missing in an execution, or can't be right, in words: stated, never repaired."""

from collector.mapping.tree import TOP, Tree

SKEW_NS = 1_000_000
"""Clocks that count in milliseconds put a child this far before its parent."""


def gaps(tree: Tree) -> list[str]:
    """Warnings for the execution: missing parents, several roots, loops, data that the sender dropped, clocks."""
    steps = tree.steps
    known = {step.span_id for step in steps}
    missing = len({steps[i].parent_span_id for i in tree.orphans} - known)
    roots = sum(not step.parent_span_id for step in steps)
    dropped = sum(any("dropped" in warning for warning in step.warnings) for step in steps)
    unended = sum(step.duration_ns is None for step in steps)
    found = [
        (missing > 0, f"{many(missing, 'parent span')} did not come: what lies below starts a tree of its own"),
        (roots > 1, f"{roots} spans have no parent: the earliest names the execution"),
        (tree.looped > 0, f"{many(tree.looped, 'loop')} of parents, cut at the earliest step of each"),
        (dropped > 0, f"{many(dropped, 'step')} lost data to the sender's own limits"),
        (unended > 0, f"{many(unended, 'step')} without a valid end"),
    ]
    return [text for is_so, text in found if is_so] + _skew(tree)


def _skew(tree: Tree) -> list[str]:
    """Steps that start before their parent: two clocks differ."""
    steps = tree.steps
    ahead_ns = [
        ahead
        for i, parent in enumerate(tree.parents)
        if parent != TOP and (ahead := steps[parent].start_ns - steps[i].start_ns) > SKEW_NS
    ]
    if not ahead_ns:
        return []
    return [f"{many(len(ahead_ns), 'step')} before the start of the parent, by up to {max(ahead_ns) / 1e6:.1f} ms"]


def many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
