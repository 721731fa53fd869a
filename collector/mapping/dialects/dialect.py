"""What a dialect is: a table of where one family of instrumentations keeps each fact of a span."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.values import Notes

Attributes = Mapping[str, Any]


class View(msgspec.Struct):
    """A span as a dialect's own reader sees it."""

    attributes: Attributes
    span: Span
    kind: str
    notes: Notes


class Composed(msgspec.Struct, frozen=True):
    """A fact that one attribute alone does not give.

    `needs` names attributes of which at least one must be there; an entry that ends in a dot is the start of names,
    and the empty one is always met.
    """

    needs: tuple[str, ...]
    read: Callable[[View], Any]

    def is_met(self, keys: Collection[str]) -> bool:
        for need in self.needs:
            if not need or need in keys:
                return True
            if need[-1] == "." and any(key.startswith(need) for key in keys):
                return True
        return False


Source = str | Composed
"""An attribute's name (its text is moved unchanged), or a reader that returns JSON text or None."""


class TokenKeys(msgspec.Struct, frozen=True):
    """The names of one dialect's token counts, newest first; they are taken as one set or not at all."""

    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    cache_write: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    exclusive: bool = False
    """The input count does not contain what was read from or written to a cache."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Where one family of instrumentations keeps each fact. The registry's order is the order of precedence."""

    name: str
    prefixes: frozenset[str] = frozenset()
    """First parts (up to a dot) of attribute names that show that a span speaks this dialect."""
    scopes: tuple[str, ...] = ()
    """Starts of scope names whose spans speak it whatever their attributes."""
    kinds: tuple[tuple[str, Mapping[str, str]], ...] = ()
    """Attribute -> its value -> our kind."""
    evidence: tuple[tuple[str, str], ...] = ()
    """What the mere presence of an attribute tells of the kind, where no value did."""
    labels: Mapping[str, tuple[str, ...]] = {}
    """Our field -> attributes, best first."""
    input: tuple[Source, ...] = ()
    output: tuple[Source, ...] = ()
    tokens: tuple[TokenKeys | Composed, ...] = ()
    """A composed one returns `Tokens`."""
    cost: tuple[Source, ...] = ()
    """US dollars of the call; a composed one returns a number."""
    errors: tuple[Composed, ...] = ()
    """Return a `StepError` where the sender tells of a failure in its own way."""
    extras: tuple[tuple[str, Composed], ...] = ()
    """Fields of `StepExtra` that are not plain labels; `metadata` and `outcome` return JSON text."""

    def is_spoken(self, scope: str, first_parts: frozenset[str]) -> bool:
        return not self.prefixes.isdisjoint(first_parts) or (bool(self.scopes) and scope.startswith(self.scopes))
