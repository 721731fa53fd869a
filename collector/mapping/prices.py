"""What a model call costs: kept prices of the `genai-prices` package, and rates of one's own that win over them.

The package is imported when the first price is asked for: it takes about 14 MB and 0.15 s beside a running service,
and an installation that never sees a token does not pay for it. It holds its prices itself; nothing is fetched.
"""

import bisect
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from collector.errors import Misconfigured
from collector.model import Step, Tokens

MILLION = 1_000_000
NAMES_KEPT = 10_000
"""Names of models are a sender's to choose: no more of them are remembered."""

# The spellings of providers that the package does not know, or reads as another one.
PROVIDERS = {
    "azure.ai.openai": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "az.ai.inference": "azure",
    "azure_openai": "azure",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
    "together_ai": "together",
    "voyage": "voyageai",
    "z_ai": "zai",
}
# Makers whose models bear names of their own. Their names as a provider often tell a client's format only, and who
# really answered is told by the model; so these are asked, in this order, where the provider is not known, too.
MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "voyageai")
# Models on one's own machine have no price, however well known their names are; these hosts have one that is not kept.
WITHOUT_PRICES = frozenset(
    (
        *("ollama", "vllm", "llama.cpp", "llamacpp", "lm_studio", "lmstudio", "llamafile", "local"),
        *("ibm.watsonx.ai", "hugging_face", "replicate", "nvidia"),
    )
)


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


class Price(NamedTuple):
    """A cost, and the day of the prices behind it (None: rates of one's own that bear no date)."""

    usd: float
    at: date | None


class PriceTable:
    """Prices by provider and model.

    `own` maps `provider/model` or `model` to rates; `*` stands for any text, and of several that fit the longest wins.
    A model that nobody knows has no price, which is not the same as 0.
    """

    def __init__(self, own: Mapping[str, Rates] | None = None, dated: date | None = None) -> None:
        self._own = {name.lower(): rates for name, rates in (own or {}).items()}
        self._dated = dated
        self._kept: dict[tuple[str | None, str], _Kept | None] = {}
        self._days: list[date] = []

    def overridden(self, own: Mapping[str, Rates], dated: date | None = None) -> "PriceTable":
        """This table with further rates of one's own, which win over those it has."""
        merged = {**self._own, **{name.lower(): rates for name, rates in own.items()}}
        return PriceTable(merged, dated or self._dated)

    def price(self, step: Step) -> Price | None:
        """What this call costs, or None where its tokens or its price are not known."""
        tokens = step.tokens
        if tokens is None or (tokens.input is None and tokens.output is None):
            return None
        asked = step.extra.request_model if step.extra else None
        for model in dict.fromkeys(name for name in (step.model, asked) if name):
            found = self._price(step, model, tokens)
            if found is not None:
                return found
        return None

    def _price(self, step: Step, model: str, tokens: Tokens) -> Price | None:
        provider, model = (step.provider or "").lower() or None, model.lower()
        hour = (step.extra.cache_write_1h if step.extra else None) or 0
        rates = self._own_rates(provider, model)
        if rates is not None:
            return Price(_own_cost(rates, tokens, hour), self._dated)
        kept = self._kept_model(provider, model)
        if kept is None:
            return None
        at = datetime.fromtimestamp(step.start_ns // 1_000_000_000, UTC)
        rates_then = vars(kept.model.get_prices(at, _circumstances(step) if kept.own else None))
        if "input_mtok" not in rates_then and "output_mtok" not in rates_then:
            return None
        return Price(_kept_cost(rates_then, tokens, hour), self._prices_of(at.date()))

    def _own_rates(self, provider: str | None, model: str) -> Rates | None:
        names = ([f"{provider}/{model}"] if provider else []) + [model]
        for name in names:
            if name in self._own:
                return self._own[name]
        fitting = [key for key in self._own if "*" in key and any(fnmatchcase(name, key) for name in names)]
        return self._own[max(fitting, key=lambda key: (len(key), key))] if fitting else None

    def _kept_model(self, provider: str | None, model: str) -> "_Kept | None":
        key = (provider, model)
        if key in self._kept:
            return self._kept.get(key)
        found = None if provider in WITHOUT_PRICES else _find(provider, model)
        if len(self._kept) >= NAMES_KEPT:
            self._kept.clear()
        self._kept[key] = found
        return found

    def _prices_of(self, day: date) -> date | None:
        """The newest change of any kept price that had come into force by `day`: how old the table is, at the most."""
        if not self._days:
            self._days = _days_of_change()
        place = bisect.bisect_right(self._days, day)
        return self._days[place - 1] if place else None


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


def _circumstances(step: Step) -> dict[str, str] | None:
    tier = step.extra.service_tier.lower() if step.extra and step.extra.service_tier else None
    if tier is None:
        return None
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


class _Kept(NamedTuple):
    model: Any
    own: bool
    """Listed by the provider itself, and not by the maker that it resells: only then do its tiers hold."""


def _find(provider: str | None, model: str) -> _Kept | None:
    """The model in the package's table: at its provider, at the one its name starts with, at its maker."""
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    providers = get_snapshot().providers
    prefix, _, rest = model.rpartition("/") if model.count("/") == 1 else ("", "", model)
    names = tuple(dict.fromkeys((model, rest)))
    for host in (provider, prefix):
        at = find_provider_by_id(providers, PROVIDERS.get(host, host)) if host else None
        if at is None:
            continue
        for name in names:
            if (found := at.find_model(name, all_providers=providers)) is not None:
                return _Kept(found, any(found is each for each in at.models))
        if at.id not in MAKERS:
            return None  # a host with a price list of its own, on which this model is not
    return _at_makers(providers, names)


def _at_makers(providers: list[Any], names: tuple[str, ...]) -> _Kept | None:
    named = [each for each in providers if each.model_match is not None and each.model_match.is_match(names[-1])]
    makers = [each for maker in MAKERS for each in providers if each.id == maker]
    for at in (*named[:1], *makers):
        for name in names:
            if (found := at.find_model(name)) is not None:
                return _Kept(found, True)
    return None


def _days_of_change() -> list[date]:
    from genai_prices.data_snapshot import get_snapshot

    days: set[date] = set()
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = model.prices if isinstance(model.prices, list) else []
            days.update(day for price in prices if (day := getattr(price.constraint, "start_date", None)))
    return sorted(days)


def _kept_cost(rates: Mapping[str, Any], tokens: Tokens, hour: int) -> float:
    total = tokens.input or 0

    def rate(name: str) -> float | None:
        value = rates.get(name)
        if value is None or isinstance(value, Decimal):
            return None if value is None else float(value)
        reached = [tier.price for tier in value.tiers if total > tier.start]
        return float(reached[-1] if reached else value.base)

    own = Rates(
        input=rate("input_mtok") or 0.0,
        output=rate("output_mtok") or 0.0,
        cached=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        cache_write_1h=rate("cache_write_1h_mtok"),
        reasoning=rate("output_reasoning_mtok"),
    )
    return _own_cost(own, tokens, hour)


def _own_cost(rates: Rates, tokens: Tokens, hour: int) -> float:
    """Cached and written tokens are part of the input, reasoning is part of the output."""
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
    return sum(count * rate for count, rate in parts) / MILLION
