"""A plan: which attributes give which facts, worked out once for all spans that have the same attribute names."""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from collector.mapping.dialects.dialect import Attributes, Composed, Dialect, Source, TokenKeys


class Plan(msgspec.Struct, frozen=True):
    """The sources that exist in spans of one shape, best first."""

    dialect: str | None
    kinds: tuple[tuple[str, Mapping[str, str]], ...]
    kind: str | None
    """The kind by evidence, where no attribute's value tells it."""
    labels: tuple[tuple[str, tuple[str, ...]], ...]
    input: tuple[Source, ...]
    output: tuple[Source, ...]
    tokens: tuple[TokenKeys | Composed, ...]
    cost: tuple[Source, ...]
    errors: tuple[Composed, ...]
    extras: tuple[tuple[str, Composed], ...]


def make_plan(dialects: tuple[Dialect, ...], scope: str, keys: Attributes) -> Plan:
    """The plan for spans of this scope with these attribute names."""
    first_parts = frozenset(key.partition(".")[0] for key in keys)
    spoken = [dialect for dialect in dialects if dialect.is_spoken(scope, first_parts)]
    return Plan(
        dialect=spoken[0].name if spoken else None,
        kinds=tuple(pair for dialect in spoken for pair in dialect.kinds if pair[0] in keys),
        kind=next(_evidence(spoken, keys), None),
        labels=tuple(_labels(spoken, keys)),
        input=tuple(source for dialect in spoken for source in dialect.input if _is_there(source, keys)),
        output=tuple(source for dialect in spoken for source in dialect.output if _is_there(source, keys)),
        tokens=tuple(_token_sets(spoken, keys)),
        cost=tuple(source for dialect in spoken for source in dialect.cost if _is_there(source, keys)),
        errors=tuple(source for dialect in spoken for source in dialect.errors if source.is_met(keys)),
        extras=tuple(pair for dialect in spoken for pair in dialect.extras if pair[1].is_met(keys)),
    )


def _is_there(source: Source, keys: Collection[str]) -> bool:
    return source in keys if isinstance(source, str) else source.is_met(keys)


def _evidence(spoken: list[Dialect], keys: Collection[str]) -> Iterator[str]:
    for dialect in spoken:
        for key, kind in dialect.evidence:
            if key in keys or (key[-1] == "." and any(each.startswith(key) for each in keys)):
                yield kind


def _labels(spoken: list[Dialect], keys: Collection[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    for dialect in spoken:
        for field, names in dialect.labels.items():
            there = [name for name in names if name in keys]
            if there:
                found.setdefault(field, []).extend(there)
    return ((field, tuple(dict.fromkeys(names))) for field, names in found.items())


def _token_sets(spoken: list[Dialect], keys: Collection[str]) -> Iterator[TokenKeys | Composed]:
    for dialect in spoken:
        for names in dialect.tokens:
            if isinstance(names, Composed):
                if names.is_met(keys):
                    yield names
            elif there := _present(names, keys):
                yield there


def _present(names: TokenKeys, keys: Collection[str]) -> TokenKeys | None:
    """The same names without those that no span of this shape has; None where neither direction is left."""
    fields = ("input", "output", "cached", "cache_write", "reasoning")
    there = {field: tuple(name for name in getattr(names, field) if name in keys) for field in fields}
    if not (there["input"] or there["output"]):
        return None
    return TokenKeys(**there, exclusive=names.exclusive)


def kind_of(plan: Plan, attributes: Attributes) -> str | None:
    """The kind that the sender names, else what the presence of attributes tells."""
    for key, known in plan.kinds:
        value = attributes[key]
        if type(value) is str:
            kind = known.get(value) or known.get(value.lower()) or known.get(value.partition(" ")[0])
            if kind is not None:
                return kind
    return plan.kind
