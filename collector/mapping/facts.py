"""The facts that a plan finds in a span's attributes. Nothing in them can make these functions raise."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from collector.mapping.dialects.dialect import Composed, Source, TokenKeys, View
from collector.mapping.dialects.plan import NAMES, Plan
from collector.mapping.token_counts import whole_input
from collector.mapping.values import MAX_COUNT, MAX_LABEL, count, json_text, label, number
from collector.model import Tokens

NO_TOKENS = Tokens()
NO_NUMBERS = (None,) * 7
NO_NAMES = (None,) * len(NAMES)
EXTRA_JSON = ("metadata", "outcome")
TEXTS = frozenset((str, type(None)))


def read_content(sources: tuple[Source, ...], view: View) -> tuple[str | None, str | None]:
    """The first source that holds something, as JSON text, and the attribute that it was moved from, if it was."""
    for source in sources:
        if type(source) is not str:
            text = source.read(view)  # type: ignore[union-attr]
            if text is not None:
                return text, None
            continue
        value = view.attributes[source]
        if type(value) is not str:
            if value is not None:
                return json_text(value), None
        elif value:
            if value[0] in "{[":
                try:
                    orjson.loads(value)
                except ValueError:
                    view.notes.warn(f"{source} begins as JSON does and is none: it is shown as text")
                else:
                    return value, source
            return orjson.dumps(value).decode(), source
    return None, None


def read_names(plan: Plan, view: View) -> Sequence[str | None]:
    """The labels of `NAMES`."""
    if plan.name_keys is not None:
        value_of: Callable[[Any], Any] = view.attributes.get
        found = tuple(map(value_of, plan.name_keys))
        if TEXTS.issuperset(map(type, found)):
            return found
    return tuple(map(read_labels(plan, view).get, NAMES))


def read_labels(plan: Plan, view: View) -> dict[str, str]:
    """The short texts that columns are searched by, under our names."""
    found: dict[str, str] = {}
    attributes = view.attributes
    for field, sources in plan.labels:
        for source in sources:
            value = attributes[source] if type(source) is str else source.read(view)  # type: ignore[union-attr]
            if type(value) is not str or len(value) > MAX_LABEL:
                value = label(value, source if isinstance(source, str) else field, view.notes)
            if value:
                found[field] = value
                break
    return found


def read_numbers(plan: Plan, view: View) -> tuple[int | float | str | None, ...]:
    """`tokens_input` to `cost_source`."""
    if plan.plain_tokens is not None:
        sent, answered = view.attributes[plan.plain_tokens[0]], view.attributes[plan.plain_tokens[1]]
        if type(sent) is int and type(answered) is int and 0 <= sent < MAX_COUNT and 0 <= answered < MAX_COUNT:
            return sent, answered, None, None, None, None, None
    tokens = _tokens(plan, view)
    cost = _cost(plan, view) if plan.cost else None
    return (
        *(tokens.input, tokens.output, tokens.cached, tokens.cache_write, tokens.reasoning),
        *(cost, None if cost is None else "sender"),
    )


def _tokens(plan: Plan, view: View) -> Tokens:
    """One dialect's set of counts, whole: two senders' numbers are never mixed."""
    for names in plan.tokens:
        found = _token_set(names, view) if isinstance(names, TokenKeys) else names.read(view) or NO_TOKENS
        if found.input is not None or found.output is not None:
            return found
    return NO_TOKENS


def _token_set(names: TokenKeys, view: View) -> Tokens:
    sent, answered = _count(names.input, view), _count(names.output, view)
    if not (names.cached or names.cache_write or names.reasoning):
        return Tokens(sent, answered)
    cached, written = _count(names.cached, view), _count(names.cache_write, view)
    tokens = Tokens(sent, answered, cached, _count(names.reasoning, view), written)
    return whole_input(tokens, _count(names.total, view), names.exclusive)


def _count(keys: tuple[str, ...], view: View) -> int | None:
    for key in keys:
        value = view.attributes[key]
        if type(value) is int and 0 <= value < MAX_COUNT:
            return value
        found = count(value, key, view.notes)
        if found is not None:
            return found
    return None


def _cost(plan: Plan, view: View) -> float | None:
    """What the sender says that the call cost, in US dollars."""
    for source in plan.cost:
        given = source.read(view) if isinstance(source, Composed) else view.attributes[source]
        found = number(given, "the cost", view.notes)
        if found is not None and found >= 0:
            return found
    return None


def read_extras(plan: Plan, view: View) -> dict[str, Any]:
    """Facts of `StepExtra`: labels that are no columns, and what else only few spans tell."""
    found: dict[str, Any] = {}
    if plan.extra_keys:
        for field, key in plan.extra_keys:
            value = view.attributes[key]
            found[field] = value if type(value) is str else label(value, key, view.notes)
    elif plan.extra_labels:
        labels = read_labels(plan, view)
        found = {field: labels[field] for field in plan.extra_labels if field in labels}
    for field, composed in plan.extras:
        if field not in found and (value := composed.read(view)) is not None:
            found[field] = orjson.Fragment(value) if field in EXTRA_JSON else value
    return found
