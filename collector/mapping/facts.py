"""The facts that a plan finds in a span's attributes."""

from typing import Any

import msgspec
import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.dialects.dialect import Attributes, Composed, Source, TokenKeys, View
from collector.mapping.dialects.plan import Plan, kind_of
from collector.mapping.dialects.providers import one_spelling
from collector.mapping.values import MAX_LABEL, Notes, count, json_text, label, number, text_as_json
from collector.model import Tokens

NO_TOKENS = Tokens()


class Facts(msgspec.Struct):
    """What a span says of itself in its dialects."""

    kind: str
    input: str | None
    input_key: str | None
    output: str | None
    output_key: str | None
    labels: dict[str, str]
    tokens: Tokens
    cost_usd: float | None
    extra: dict[str, Any]
    errors: tuple[Composed, ...]
    dialect: str | None
    view: View


def read_facts(plan: Plan, attributes: Attributes, span: Span, notes: Notes) -> Facts:
    """All facts; nothing in the attributes can make it raise."""
    kind = kind_of(plan, attributes) or _plain_kind(span)
    view = View(attributes, span, kind, notes)
    sent, input_key = _content(plan.input, view) if plan.input else (None, None)
    answered, output_key = _content(plan.output, view) if plan.output else (None, None)
    if kind == "embedding" and output_key is not None:
        answered = output_key = None  # vectors: nothing to read, and they stay in the attributes
    labels = _labels(plan, attributes, notes) if plan.labels else {}
    extra: dict[str, Any] = {}
    for field, composed in plan.extras:
        if field not in extra and (value := composed.read(view)) is not None:
            extra[field] = orjson.Fragment(value) if field in ("metadata", "outcome") else value
    tokens = _tokens(plan, view) if plan.tokens else NO_TOKENS
    cost = _cost(plan.cost, view) if plan.cost else None
    return Facts(
        kind, sent, input_key, answered, output_key, labels, tokens, cost, extra, plan.errors, plan.dialect, view
    )


def _plain_kind(span: Span) -> str:
    if span.kind <= Span.SPAN_KIND_INTERNAL:
        return "function"
    return "messaging" if span.kind >= Span.SPAN_KIND_PRODUCER else "other"


def _content(sources: tuple[Source, ...], view: View) -> tuple[str | None, str | None]:
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


def _labels(plan: Plan, attributes: Attributes, notes: Notes) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, keys in plan.labels:
        for key in keys:
            value = attributes[key]
            if type(value) is not str or len(value) > MAX_LABEL:
                value = label(value, key, notes)
            if value:
                found[field] = value
                break
    if "provider" in found:
        found["provider"] = one_spelling(found["provider"])
    return found


def _tokens(plan: Plan, view: View) -> Tokens:
    for names in plan.tokens:
        found = _token_set(names, view) if isinstance(names, TokenKeys) else names.read(view) or NO_TOKENS
        if found.input is not None or found.output is not None:
            return found
    return NO_TOKENS


def _token_set(names: TokenKeys, view: View) -> Tokens:
    sent, answered = _count(names.input, view), _count(names.output, view)
    cached, written = _count(names.cached, view), _count(names.cache_write, view)
    return whole_input(
        Tokens(
            input=sent, output=answered, cached=cached, cache_write=written, reasoning=_count(names.reasoning, view)
        ),
        names.exclusive,
    )


def whole_input(tokens: Tokens, exclusive: bool) -> Tokens:
    """The same counts with an input that contains what was read from and written to a cache.

    More cache than input means that the sender counts them apart, whatever its dialect says.
    """
    beside = (tokens.cached or 0) + (tokens.cache_write or 0)
    if tokens.input is None or not beside or not (exclusive or beside > tokens.input):
        return tokens
    return msgspec.structs.replace(tokens, input=tokens.input + beside)


def _count(keys: tuple[str, ...], view: View) -> int | None:
    for key in keys:
        value = view.attributes[key]
        if type(value) is int and 0 <= value < 2**53:
            return value
        found = count(value, key, view.notes)
        if found is not None:
            return found
    return None


def _cost(sources: tuple[Source, ...], view: View) -> float | None:
    for source in sources:
        key = source if isinstance(source, str) else None
        found = number(view.attributes[key], key, view.notes) if key else source.read(view)  # type: ignore[union-attr]
        if found is not None and found >= 0:
            return float(found)
    return None
