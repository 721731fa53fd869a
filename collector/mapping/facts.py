"""The facts that a plan finds in a span's attributes. Nothing in them can make these functions raise."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Source, TokenKeys, View
from collector.mapping.dialects.plan import Plan
from collector.mapping.dialects.providers import one_spelling
from collector.mapping.token_counts import whole_input
from collector.mapping.values import MAX_LABEL, count, json_text, label, number, text_as_json
from collector.model import Tokens

NO_TOKENS = Tokens()
NO_NUMBERS = (None,) * 7


def read_content(sources: tuple[Source, ...], view: View) -> tuple[str | None, str | None]:
    """The first source that holds something, as JSON text, and the attribute that it was moved from, if it was."""
    for source in sources:
        if type(source) is not str:
            text = source.read(view)  # type: ignore[union-attr]
            if text is not None:
                return text, None
            continue
        value = view.attributes[source]
        if type(value) is str:
            if value:
                return text_as_json(value), source
        elif value is not None:
            return json_text(value), None
    return None, None


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
    if "provider" in found:
        found["provider"] = one_spelling(found["provider"])
    return found


def read_numbers(plan: Plan, view: View) -> tuple[int | float | str | None, ...]:
    """`tokens_input` to `cost_source`."""
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
        if type(value) is int and 0 <= value < 2**53:
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
    """Facts of `StepExtra` that are not plain labels."""
    found: dict[str, Any] = {}
    for field, composed in plan.extras:
        if field not in found and (value := composed.read(view)) is not None:
            found[field] = value
    return found
