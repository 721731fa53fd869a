"""The facts that a plan finds in a span's attributes. Nothing in them can make these functions raise."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from collector.mapping.blobs import LEAST_TEXT, without_blobs
from collector.mapping.dialects.dialect import Composed, Source, TokenKeys, View
from collector.mapping.dialects.plan import NAMES, Plan
from collector.mapping.dialects.providers import PROVIDERS, one_spelling
from collector.mapping.token_counts import whole_input
from collector.mapping.values import MAX_COUNT, MAX_LABEL, NO_JSON, check_json, count, json_text, label, number
from collector.model import Tokens

NO_TOKENS = Tokens()
NO_NUMBERS = (None,) * 7
MOST_USD = 1_000_000
"""A sender's cost beyond this is a fault of the sender: it would drown every sum that it is part of."""
EXTRA_JSON = ("metadata", "outcome")


def read_content(plan: Plan, view: View) -> tuple[str | None, ...]:
    """`input` to `output_key`."""
    sent, input_key = _first(plan.input, view)
    answered, output_key = _first(plan.output, view)
    if output_key is not None and view.kind == "embedding":
        answered = output_key = None  # vectors: nothing to read, and they stay in the attributes
    if sent is not None and len(sent) > LEAST_TEXT and (named := without_blobs(sent)) is not sent:
        sent, input_key = named, None
    if answered is not None and len(answered) > LEAST_TEXT and (named := without_blobs(answered)) is not answered:
        answered, output_key = named, None
    return sent, answered, input_key, output_key


def _first(sources: tuple[Source, ...], view: View) -> tuple[str | None, str | None]:
    """The first source that holds something, as JSON text, and the attribute that it was moved from, if it was."""
    for source in sources:
        if type(source) is Composed:
            text = source.read(view)
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
                    check_json(value)
                except NO_JSON:
                    view.notes.warn(f"{source} begins as JSON does and is none: it is shown as text")
                else:
                    return value, source
            return orjson.dumps(value).decode(), source
    return None, None


def read_names(plan: Plan, view: View, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """`model` to `cost_source`; `defaults` are what the resource says of the session and user."""
    view.named = model, asked, provider, tool, session, conversation, user = _labels_of(plan, view)
    names = (
        model or asked or None,
        (PROVIDERS.get(provider) or one_spelling(provider)) if provider else None,
        (tool or tool_of(view.span.name)) if view.kind == "tool" else None,
        session or conversation or defaults[3],
        user or defaults[4],
    )
    return names + (_numbers(plan, view) if plan.has_numbers else NO_NUMBERS)


def _labels_of(plan: Plan, view: View) -> Sequence[str | None]:
    """The labels of `NAMES`."""
    if plan.name_keys is not None:
        found: list[str | None] = [None] * len(NAMES)
        for place, key in plan.name_keys:
            value = view.attributes[key]
            if type(value) is not str:
                break
            found[place] = value
        else:
            return found
    return tuple(map(read_labels(plan, view).get, NAMES))


def tool_of(span_name: str) -> str:
    """The tool's name where only the span's name tells it."""
    name = span_name.removeprefix("execute_tool ").removeprefix("running tool: ").removesuffix(".tool")
    return name.rpartition("tools/call ")[2]


def read_labels(plan: Plan, view: View) -> dict[str, str]:
    """The short texts that columns are searched by, under our names."""
    found: dict[str, str] = {}
    attributes = view.attributes
    for field, sources in plan.labels:
        for source in sources:
            value = source.read(view) if type(source) is Composed else attributes[source]
            if type(value) is not str or len(value) > MAX_LABEL:
                value = label(value, source if isinstance(source, str) else field, view.notes)
            if value:
                found[field] = value
                break
    return found


def _numbers(plan: Plan, view: View) -> tuple[int | float | str | None, ...]:
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
        if found is not None and 0 <= found <= MOST_USD:
            return found
        if found is not None:
            view.notes.warn("the cost is no amount that one call can cost")
    return None


def extra_json(plan: Plan, view: View, environment: str | None, is_plumbing: bool) -> str | None:
    """JSON text of `StepExtra`: labels that are no columns, and what else only few spans tell."""
    labels = read_labels(plan, view) if plan.extra_labels else {}
    found: dict[str, Any] = {field: labels[field] for field in plan.extra_labels if field in labels}
    request_model, conversation = second_names(view.named)
    if request_model:
        found["request_model"] = request_model
    if conversation:
        found["conversation_id"] = conversation
    for field, composed in plan.extras:
        if field not in found and (value := composed.read(view)) is not None:
            found[field] = orjson.Fragment(value) if field in EXTRA_JSON else value
    return _extra_text(found, plan.told_dialect, environment, is_plumbing)


@lru_cache(1024)
def plain_extra(
    dialect: str | None, names: tuple[str | None, str | None], environment: str | None, is_plumbing: bool
) -> str | None:
    """JSON text of `StepExtra` where the second names are all that there is beside what many spans share."""
    request_model, conversation = names
    found = {"request_model": request_model, "conversation_id": conversation}
    return _extra_text({field: name for field, name in found.items() if name}, dialect, environment, is_plumbing)


def second_names(named: Sequence[str | None]) -> tuple[str | None, str | None]:
    """The model asked for where another one answered, and the conversation where there is a session, too."""
    model, asked, _, _, session, conversation, _ = named
    return asked if model and asked != model else None, conversation if session else None


def _extra_text(found: dict[str, Any], dialect: str | None, environment: str | None, is_plumbing: bool) -> str | None:
    if dialect is not None:
        found["dialect"] = dialect
    if environment is not None:
        found.setdefault("environment", environment)
    if is_plumbing:
        found["plumbing"] = True
    return orjson.dumps(found).decode() if found else None
