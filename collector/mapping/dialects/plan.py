"""A plan: which attributes give which facts, worked out once for all spans that have the same attribute names."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from collector.mapping.dialects.dialect import Attributes, Composed, Dialect, Kinds, Source, TokenKeys, is_there
from collector.mapping.values import json_text

NAMES = ("model", "request_model", "provider", "tool", "session", "conversation", "user")
PAIRS = ({"model", "request_model"}, {"session", "conversation"})
"""Labels of which the second is worth telling beside the first."""
EXTRA_LABELS = ("execution_id", "agent", "environment", "label", "service_tier", "response_id")
UNNAMED_DIALECTS = ("web", "general", None)


class Plan(msgspec.Struct, frozen=True):
    """The sources that exist in spans of one shape, best first."""

    dialect: str | None
    kinds: tuple[tuple[str, Kinds], ...]
    kind: str | None
    """The kind by evidence, where no attribute's value tells it."""
    names: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, tuple[Source, ...]], ...]
    input: tuple[Source, ...]
    output: tuple[Source, ...]
    tokens: tuple[TokenKeys | Composed, ...]
    cost: tuple[Source, ...]
    errors: tuple[Composed, ...]
    extras: tuple[tuple[str, Composed], ...]
    extra_labels: tuple[str, ...]
    """Labels that go to `StepExtra`."""
    has_extra: bool
    """There may be more of it than `extra_text`."""
    extra_text: str | None
    """What all spans of this shape have as `StepExtra`."""
    told_dialect: str | None
    """The dialect, where it is worth telling."""
    plumbing: bool
    is_kind_known: bool
    """No attribute's value and no name decides, so `kind` is all there is to know."""
    has_numbers: bool
    has_content: bool
    has_names: bool
    # What follows is known beforehand of nearly all spans, and spares them the general way.
    kind_key: str | None
    """The one attribute whose value names the kind, through `kind_values`."""
    kind_values: Mapping[str, str]
    name_keys: tuple[tuple[int, str], ...] | None
    """Places in `NAMES` and their attributes, where each has no more than one."""
    plain_tokens: tuple[str, str] | None
    """The two names that are all that these spans tell of tokens and cost."""
    may_fail: bool
    """The attributes themselves may tell of a failure."""


def make_plan(dialects: tuple[Dialect, ...], scope: str, keys: Attributes) -> Plan:
    """The plan for spans of this scope with these attribute names."""
    first_parts = frozenset(_first_parts(keys))
    spoken = [dialect for dialect in dialects if dialect.is_spoken(scope, first_parts)]
    errors = tuple(source for dialect in spoken for source in dialect.errors if source.is_met(keys))
    kinds = tuple(pair for dialect in spoken for pair in dialect.kinds if pair[0] in keys)
    names = tuple(pair for dialect in spoken for pair in dialect.names)
    kind = next(_evidence(spoken, keys), None)
    sent = tuple(source for dialect in spoken for source in dialect.input if _is_there(source, keys))
    answered = tuple(source for dialect in spoken for source in dialect.output if _is_there(source, keys))
    labels = tuple(_labels(spoken, keys))
    labelled = {field for field, _ in labels}
    extra_labels = tuple(field for field, _ in labels if field in EXTRA_LABELS)
    tokens = tuple(_token_sets(spoken, keys))
    extras = tuple(pair for dialect in spoken for pair in dialect.extras if pair[1].is_met(keys))
    dialect_name = spoken[0].name if spoken else None
    is_named = dialect_name not in UNNAMED_DIALECTS
    cost = tuple(source for dialect in spoken for source in dialect.cost if _is_there(source, keys))
    return Plan(
        dialect=dialect_name,
        kinds=kinds,
        kind=kind,
        names=names,
        labels=labels,
        input=sent,
        output=answered,
        tokens=tokens,
        cost=cost,
        errors=errors,
        extras=extras,
        extra_labels=extra_labels,
        has_extra=bool(extra_labels or extras) or PAIRS[0] <= labelled or PAIRS[1] <= labelled,
        extra_text=json_text({"dialect": dialect_name}) if is_named else None,
        told_dialect=dialect_name if is_named else None,
        plumbing=any(key in keys for dialect in spoken for key in dialect.plumbing),
        kind_key=kinds[0][0] if len(kinds) == 1 and isinstance(kinds[0][1], Mapping) else None,
        kind_values=kinds[0][1] if len(kinds) == 1 and isinstance(kinds[0][1], Mapping) else {},
        name_keys=_name_keys(labels),
        is_kind_known=not kinds and (kind is not None or not names),
        has_names=bool(labels or tokens or cost),
        has_content=bool(sent or answered),
        has_numbers=bool(tokens or cost),
        plain_tokens=None if cost else _plain_tokens(tokens),
        may_fail=bool(errors) or "error.type" in keys,
    )


def _first_parts(keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        first, _, rest = key.partition(".")
        yield first
        if rest:
            yield f"{first}.{rest.partition('.')[0]}"


def _is_there(source: Source, keys: Collection[str]) -> bool:
    return source in keys if isinstance(source, str) else source.is_met(keys)


def _evidence(spoken: list[Dialect], keys: Collection[str]) -> Iterator[str]:
    return (kind for dialect in spoken for key, kind in dialect.evidence if is_there(key, keys))


def _labels(spoken: list[Dialect], keys: Collection[str]) -> Iterator[tuple[str, tuple[Source, ...]]]:
    found: dict[str, list[Source]] = {}
    for dialect in spoken:
        for field, sources in dialect.labels.items():
            there = [source for source in sources if _is_there(source, keys)]
            if there:
                found.setdefault(field, []).extend(there)
    return ((field, tuple(sources)) for field, sources in found.items())


def _token_sets(spoken: list[Dialect], keys: Collection[str]) -> Iterator[TokenKeys | Composed]:
    for dialect in spoken:
        for names in dialect.tokens:
            if isinstance(names, Composed):
                if names.is_met(keys):
                    yield names
            elif there := _present(names, keys):
                yield there


def _name_keys(labels: tuple[tuple[str, tuple[Source, ...]], ...]) -> tuple[tuple[int, str], ...] | None:
    found: list[tuple[int, str]] = []
    for field, sources in labels:
        if field in NAMES:
            if len(sources) > 1 or not isinstance(sources[0], str):
                return None
            found.append((NAMES.index(field), sources[0]))
    return tuple(found)


def _plain_tokens(sets: tuple[TokenKeys | Composed, ...]) -> tuple[str, str] | None:
    if len(sets) != 1 or not isinstance(sets[0], TokenKeys):
        return None
    only = sets[0]
    is_plain = len(only.input) == len(only.output) == 1 and not (only.cached or only.cache_write or only.reasoning)
    return (only.input[0], only.output[0]) if is_plain else None


def _present(names: TokenKeys, keys: Collection[str]) -> TokenKeys | None:
    """The same names without those that no span of this shape has; None where neither direction is left."""
    fields = ("input", "output", "cached", "cache_write", "reasoning", "total")
    there = {field: tuple(name for name in getattr(names, field) if name in keys) for field in fields}
    if not (there["input"] or there["output"]):
        return None
    return TokenKeys(**there, exclusive=names.exclusive)


def named_kind(plan: Plan, attributes: Mapping[str, Any], span_name: str) -> str | None:
    """The kind that the sender itself names, else what the evidence is for."""
    if plan.kind_key is not None:
        value = attributes[plan.kind_key]
        if type(value) is str and (kind := plan.kind_values.get(value)) is not None:
            return kind
    for key, kinds in plan.kinds:
        value = attributes[key]
        if type(value) is str:
            kind = kinds(value) if callable(kinds) else kinds.get(value) or kinds.get(_plain(value))
            if kind is not None:
                return kind
    if plan.kind is not None:
        return plan.kind
    return next((kind for start, kind in plan.names if span_name.startswith(start)), None)


def _plain(value: str) -> str:
    """Without the quotes, capitals and added words that some senders use."""
    return value.strip('"').partition(" ")[0].lower()
