"""Token counts: whether cached tokens stand inside of the input or beside it, and counts that come as a map."""

from collections.abc import Mapping
from typing import Any

import msgspec

from collector.mapping.values import Notes, count
from collector.model import Tokens

MAP_NAMES = {
    "input": ("input_tokens", "inputTokens", "prompt_tokens", "promptTokens", "input", "prompt"),
    "output": ("output_tokens", "outputTokens", "completion_tokens", "completionTokens", "output", "completion"),
    "cached": (
        *("cache_read_input_tokens", "cached_input_tokens", "input_cached_tokens", "prompt_cached_tokens"),
        *(
            "cache_read_tokens",
            "cachedInputTokens",
            "cachedContentTokens",
            "input_cache_read",
            "cached_tokens",
            "cache_read",
            "cached_prompt_tokens",
        ),
    ),
    "cache_write": (
        "cache_creation_input_tokens",
        "cache_write_input_tokens",
        "input_cache_creation",
        "cache_creation",
        "cache_creation_tokens",
    ),
    "reasoning": (
        *("reasoning_tokens", "output_reasoning_tokens", "reasoningTokens", "output_reasoning", "thoughtsTokens"),
        *("completion_reasoning_tokens", "reasoning"),
    ),
}
DETAILS = (
    *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"),
    *("input_token_details", "output_token_details"),
)
TOTALS = ("total_tokens", "totalTokens", "total")


def whole_input(tokens: Tokens, total: int | None, exclusive: bool) -> Tokens:
    """The same counts with an input that contains what was read from and written to a cache, and an output that
    contains reasoning.

    The sender's total tells how it counts; without one, more cache than input does; else `exclusive` is believed.
    """
    beside, reasoning = (tokens.cached or 0) + (tokens.cache_write or 0), tokens.reasoning or 0
    if tokens.input is None or not (beside or reasoning):
        return tokens
    sent = tokens.input + (tokens.output or 0)
    ways = ((0, 0), (beside, 0), (0, reasoning), (beside, reasoning))
    told = next((way for way in ways if sent + sum(way) == total), None)
    beside, reasoning = told or (beside if exclusive or beside > tokens.input else 0, 0)
    output = None if tokens.output is None else tokens.output + reasoning
    return msgspec.structs.replace(tokens, input=tokens.input + beside, output=output)


def tokens_of(usage: Any, notes: Notes, exclusive: bool = False) -> Tokens | None:
    """Counts from a map under any of the names that providers and frameworks use."""
    if not isinstance(usage, Mapping):
        return None
    flat = dict(usage)
    for name in DETAILS:
        if isinstance(details := usage.get(name), Mapping):
            flat = {**details, **flat}
    found = {field: _first(flat, names, notes) for field, names in MAP_NAMES.items()}
    tokens = Tokens(**found)
    if tokens.input is None and tokens.output is None:
        return None
    return whole_input(tokens, _first(flat, TOTALS, notes), exclusive)


def _first(usage: Mapping[str, Any], names: tuple[str, ...], notes: Notes) -> int | None:
    return next((count(usage[name], name, notes) for name in names if usage.get(name) is not None), None)
