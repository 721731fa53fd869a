"""Tokens and cost of an execution: each model call counts once, however many steps report it.

1. A step's tokens count only if nothing below it has any: parents repeat the sum of their children.
2. Two instrumentations of one call may report it side by side; such twins count as one.
3. A sender's cost wins over the price table, and a wrapper's cost counts where nothing below it brought one.
"""

import math
from datetime import date
from typing import NamedTuple

import msgspec

from collector.mapping.prices import Price, PriceTable
from collector.mapping.rates import plain_usd
from collector.mapping.tree import TOP, Tree
from collector.mapping.twins import spared_twins
from collector.model import Step, Tokens

COUNTS = ("input", "output", "cached", "reasoning", "cache_write")
MODEL_KINDS = frozenset({"llm", "embedding", "reranker"})
SHOWN = 3
"""How many warnings of one sort are spelled out."""


class Totals(msgspec.Struct):
    tokens: Tokens | None
    cost_usd: float | None
    prices_at: date | None
    listed: dict[int, Price]
    """What the table says for calls without a sender's cost, by position."""
    warnings: list[str]


def total(tree: Tree, prices: PriceTable | None) -> Totals:
    """Sums up what the tree's model calls used."""
    used = [has_usage(step) for step in tree.steps]
    below = tree.carries_below(used)
    leaves = [i for i, step_used in enumerate(used) if step_used and not below[i]]
    spared = spared_twins(tree.steps, leaves)
    counted = [i for i in leaves if i not in spared]
    listed = _listed(tree.steps, leaves, prices)
    bill = _bill(tree, counted, spared)
    priced = [i for i in bill.open if i in listed]
    known = [tree.steps[i].cost_usd or 0.0 for i in bill.sent] + [listed[i].usd for i in priced]
    warnings = [*_disagreements(tree, counted, below), *_contradictions(tree.steps), *_silent(tree, used, below)]
    if prices is not None:
        warnings += _unpriced(tree.steps, [i for i in bill.open if i not in listed], bool(known))
    return Totals(
        tokens=_sum([tree.steps[i].tokens for i in counted]),
        cost_usd=plain_usd(math.fsum(known)) if known else None,
        prices_at=max((at for i in priced if (at := listed[i].at)), default=None),
        listed=listed,
        warnings=warnings,
    )


def has_usage(step: Step) -> bool:
    """Whether the step says how many tokens went in or out (0 of both is how some senders say nothing)."""
    return step.tokens is not None and bool(step.tokens.input or step.tokens.output)


def has_sent_cost(step: Step) -> bool:
    return step.cost_usd is not None and step.cost_source != "prices"


def _listed(steps: list[Step], leaves: list[int], prices: PriceTable | None) -> dict[int, Price]:
    """What the table says for calls without a sender's cost."""
    if prices is None:
        return {}
    found = {i: prices.price(steps[i]) for i in leaves if not has_sent_cost(steps[i])}
    return {i: price for i, price in found.items() if price is not None}


def _sum(tokens: list[Tokens | None]) -> Tokens | None:
    known = [counts for counts in tokens if counts is not None]
    if not known:
        return None
    sums: dict[str, int | None] = {}
    for name in COUNTS:
        values = [value for counts in known if (value := getattr(counts, name)) is not None]
        sums[name] = sum(values) if values else None
    return Tokens(**sums)


class _Bill(NamedTuple):
    sent: list[int]
    """Steps whose sender's cost counts."""
    open: list[int]
    """Calls that no sender's cost covers."""


def _bill(tree: Tree, counted: list[int], spared: set[int]) -> _Bill:
    """Who pays for what: the lowest sender's cost counts, and it covers the calls below it."""
    sent = [has_sent_cost(step) and i not in spared for i, step in enumerate(tree.steps)]
    sent_below = tree.carries_below(sent)
    counts = [sent[i] and not sent_below[i] for i in range(len(sent))]
    covered = tree.carries_above(counts)
    free = [i for i in counted if not (counts[i] or covered[i] or sent_below[i])]
    return _Bill([i for i, counted_cost in enumerate(counts) if counted_cost], free)


def _disagreements(tree: Tree, counted: list[int], below: list[bool]) -> list[str]:
    """Wrappers whose own numbers are not the sum of the calls below them."""
    wrappers = [i for i, is_above in enumerate(below) if is_above and has_usage(tree.steps[i])]
    if not wrappers:
        return []
    sums_input, sums_output = [0] * len(tree.steps), [0] * len(tree.steps)
    for i in counted:
        tokens = tree.steps[i].tokens or Tokens()
        sums_input[i], sums_output[i] = tokens.input or 0, tokens.output or 0
    for i in reversed(tree.order):
        if tree.parents[i] != TOP:
            sums_input[tree.parents[i]] += sums_input[i]
            sums_output[tree.parents[i]] += sums_output[i]
    found = []
    for i in wrappers:
        reported, sums = tree.steps[i].tokens or Tokens(), (sums_input[i], sums_output[i])
        if reported.input not in (None, sums[0]) or reported.output not in (None, sums[1]):
            found.append(
                f"{tree.steps[i].name} reports {_numbers(reported.input, reported.output)}; "
                f"the model calls below it add up to {_numbers(*sums)}, which is what counts"
            )
    return capped(found, "wrappers differ from the calls below them")


def _numbers(tokens_input: int | None, tokens_output: int | None) -> str:
    return f"{'no' if tokens_input is None else tokens_input} input and {tokens_output or 0} output tokens"


def _contradictions(steps: list[Step]) -> list[str]:
    found = []
    for step in steps:
        tokens = step.tokens
        if tokens is None:
            continue
        if (tokens.cached or 0) + (tokens.cache_write or 0) > (tokens.input or 0):
            found.append(f"{step.name} reports more cached tokens than input tokens")
        elif (tokens.reasoning or 0) > (tokens.output or 0):
            found.append(f"{step.name} reports more reasoning tokens than output tokens")
    return capped(found, "steps have contradictory token numbers")


def _silent(tree: Tree, used: list[bool], below: list[bool]) -> list[str]:
    """Model calls whose tokens nobody reported: the totals are too small by them."""
    above = tree.carries_above(used)
    models = [step.kind in MODEL_KINDS for step in tree.steps]
    inner = tree.carries_below(models)
    silent = sum(
        models[i] and not (used[i] or below[i] or above[i] or inner[i])
        for i, step in enumerate(tree.steps)
        if step.status != "error" and step.duration_ns is not None
    )
    if not silent:
        return []
    return [f"{silent} model call{'s' * (silent > 1)} came without token numbers: the totals leave them out"]


def _unpriced(steps: list[Step], calls: list[int], partly: bool) -> list[str]:
    if not calls:
        return []
    models = sorted({steps[i].model or "a model without a name" for i in calls})
    cost = "the cost leaves it out" if partly else "the cost is not known"
    return [f"no price is known for {', '.join(models[:5])}{' and others' * (len(models) > 5)}: {cost}"]


def capped(found: list[str], what: str) -> list[str]:
    """The first warnings of one sort, and how many more there are."""
    if len(found) <= SHOWN:
        return found
    return [*found[:SHOWN], f"{len(found) - SHOWN} more {what}"]
