"""Rates of a model: US dollars for a million tokens, and what a call costs by them."""

import tomllib
from datetime import date
from typing import Annotated, Any, TypeVar

import msgspec

from collector.errors import Misconfigured
from collector.model import Tokens

MILLION = 1_000_000
USD_DIGITS = 12
Rate = Annotated[float, msgspec.Meta(ge=0)]


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a million tokens; a rate left out is the one of plain input (or output) tokens."""

    input: Rate = 0.0
    output: Rate = 0.0
    cached: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None


RATE_NAMES = tuple(Rates.__struct_fields__)


def read_rates(text: str, name: str) -> tuple[dict[str, Rates], date | None]:
    """Rates of one's own from the text of a file `name` (TOML or JSON): model -> rates, and the `date` of the prices.

    Raises Misconfigured with every fault at once.
    """
    try:
        held = tomllib.loads(text) if name.endswith(".toml") else msgspec.json.decode(text)
    except (ValueError, msgspec.DecodeError) as error:
        raise Misconfigured(f"{name} is not valid {'TOML' if name.endswith('.toml') else 'JSON'}: {error}") from None
    if not isinstance(held, dict):
        raise Misconfigured(f"{name} must be an object of models and their rates")
    faults: list[str] = []
    rates = {model: _read(Rates, each, f"{name}, {model}", faults) for model, each in held.items() if model != "date"}
    dated = _read(date, held["date"], f"{name}, date", faults) if "date" in held else None
    if faults:
        raise Misconfigured(faults)
    return {model: each for model, each in rates.items() if each is not None}, dated


T = TypeVar("T")


def _read(wanted: type[T], value: Any, place: str, faults: list[str]) -> T | None:
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        faults.append(f"{place}: {error}. Rates are US dollars for a million tokens: {', '.join(RATE_NAMES)}.")
        return None


def cost_usd(rates: Rates, tokens: Tokens, hour: int) -> float:
    """What these tokens cost, `hour` of those written to a cache being kept for an hour.

    Cached and written tokens are part of the input, reasoning is part of the output.
    """
    cached, written, reasoning = tokens.cached or 0, tokens.cache_write or 0, tokens.reasoning or 0
    hour = min(hour, written)
    write = rates.input if rates.cache_write is None else rates.cache_write
    parts = (
        (max((tokens.input or 0) - cached - written, 0), rates.input),
        (cached, rates.input if rates.cached is None else rates.cached),
        (written - hour, write),
        (hour, write if rates.cache_write_1h is None else rates.cache_write_1h),
        (max((tokens.output or 0) - reasoning, 0), rates.output),
        (reasoning, rates.output if rates.reasoning is None else rates.reasoning),
    )
    return plain_usd(sum(count * rate for count, rate in parts) / MILLION)


def plain_usd(usd: float) -> float:
    """The amount without the noise of binary fractions: 0.00035, not 0.00034999999999999994."""
    return round(usd, USD_DIGITS)
