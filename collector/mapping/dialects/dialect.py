"""What a dialect is: a table of where one family of instrumentations keeps each fact of a span."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, final

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.values import Notes

Attributes = dict[str, Any]


class View(msgspec.Struct, gc=False):
    """A span as a dialect's own reader sees it."""

    attributes: Attributes
    span: Span
    kind: str
    notes: Notes
    events: Sequence[Span.Event]
    named: Sequence[str | None] = (None,) * 7
    """Its labels, once they are read."""


@final
class Composed(msgspec.Struct, frozen=True):
    """A fact that one attribute alone does not give.

    `needs` names attributes of which at least one must be there; an entry that ends in a dot is the start of names,
    and the empty one is always met.
    """

    needs: tuple[str, ...]
    read: Callable[[View], Any]

    def is_met(self, keys: Collection[str]) -> bool:
        return any(not need or is_there(need, keys) for need in self.needs)


def is_there(name: str, keys: Collection[str]) -> bool:
    """Whether an attribute of this name is among them, or one that starts so where the name ends in a dot."""
    return name in keys or (name[-1] == "." and any(key.startswith(name) for key in keys))


Source = str | Composed
"""An attribute's name (its text is moved unchanged), or a reader that returns what is stored, or None."""

Kinds = Mapping[str, str] | Callable[[str], str | None]
"""From an attribute's value to our kind."""


class TokenKeys(msgspec.Struct, frozen=True):
    """The names of one dialect's token counts, newest first; they are taken as one set or not at all."""

    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    cache_write: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    """Tells whether the input count contains what was read from or written to a cache."""
    exclusive: bool = False
    """What to believe of that where there is no total."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Where one family of instrumentations keeps each fact. The registry's order is the order of precedence."""

    name: str
    prefixes: frozenset[str] = frozenset()
    """First parts (one, or two with the dot between) of attribute names that show that a span speaks this dialect."""
    scopes: tuple[str, ...] = ()
    """Starts of scope names whose spans speak it whatever their attributes."""
    kinds: tuple[tuple[str, Kinds], ...] = ()
    """Attribute -> its value -> our kind."""
    evidence: tuple[tuple[str, str], ...] = ()
    """What the mere presence of an attribute tells of the kind, where no value did."""
    names: tuple[tuple[str, str], ...] = ()
    """What the start of the span's name tells of the kind, where no attribute did."""
    labels: Mapping[str, tuple[Source, ...]] = {}
    """Our field -> attributes, best first."""
    input: tuple[Source, ...] = ()
    output: tuple[Source, ...] = ()
    """A composed one returns JSON text."""
    tokens: tuple[TokenKeys | Composed, ...] = ()
    """A composed one returns `Tokens`."""
    cost: tuple[Source, ...] = ()
    """US dollars of the call; a composed one returns a number."""
    errors: tuple[Composed, ...] = ()
    """Return a `StepError` where the sender tells of a failure in its own way."""
    plumbing: tuple[str, ...] = ()
    """Attributes whose presence marks a span that nobody looks for by itself."""
    extras: tuple[tuple[str, Composed], ...] = ()
    """Fields of `StepExtra` that are not plain labels; `metadata` and `outcome` return JSON text."""

    def is_spoken(self, scope: str, first_parts: frozenset[str]) -> bool:
        return not self.prefixes.isdisjoint(first_parts) or (bool(self.scopes) and scope.startswith(self.scopes))
