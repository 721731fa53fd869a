"""Kept prices: the table of the `genai-prices` package.

The package is imported when the first price is asked for: it takes about 14 MB and 0.15 s beside a running service,
and an installation that never sees a token does not pay for it. It holds its prices itself; nothing is fetched.
"""

import bisect
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from collector.mapping.rates import Rates

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


class KeptPrice(NamedTuple):
    """What a model costs at one time, and the day of that price."""

    rates: Rates
    at: date | None


class KeptModel:
    """A model in the package's table."""

    def __init__(self, model: Any, own: bool) -> None:
        self._model = model
        self._own = own
        """Listed by the provider itself, and not by the maker that it resells: only then do its tiers hold."""

    def price(self, start_ns: int, service_tier: str | None = None, input_tokens: int = 0) -> KeptPrice | None:
        """The rates of a call that began then; of stepped rates the step that so many input tokens reach."""
        at = datetime.fromtimestamp(start_ns // 1_000_000_000, UTC)
        rates = vars(self._model.get_prices(at, _circumstances(service_tier) if self._own else None))
        if "input_mtok" not in rates and "output_mtok" not in rates:
            return None
        return KeptPrice(_rates_of(rates, input_tokens), _prices_of(at.date()))


def find_model(provider: str | None, model: str) -> KeptModel | None:
    """The model in the package's table: at its provider, at the one its name starts with, at its maker."""
    if provider in WITHOUT_PRICES:
        return None
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
                return KeptModel(found, any(found is each for each in at.models))
        if at.id not in MAKERS:
            return None  # a host with a price list of its own, on which this model is not
    return _at_makers(providers, names)


def _at_makers(providers: list[Any], names: tuple[str, ...]) -> KeptModel | None:
    named = [each for each in providers if each.model_match is not None and each.model_match.is_match(names[-1])]
    makers = [each for maker in MAKERS for each in providers if each.id == maker]
    for at in (*named[:1], *makers):
        for name in names:
            if (found := at.find_model(name)) is not None:
                return KeptModel(found, True)
    return None


def _circumstances(service_tier: str | None) -> dict[str, str] | None:
    if not service_tier:
        return None
    tier = service_tier.lower()
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def _rates_of(rates: Mapping[str, Any], input_tokens: int) -> Rates:
    def rate(name: str) -> float | None:
        value = rates.get(name)
        if value is None or isinstance(value, Decimal):
            return None if value is None else float(value)
        reached = [tier.price for tier in value.tiers if input_tokens > tier.start]
        return float(reached[-1] if reached else value.base)

    return Rates(
        input=rate("input_mtok") or 0.0,
        output=rate("output_mtok") or 0.0,
        cached=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        cache_write_1h=rate("cache_write_1h_mtok"),
        reasoning=rate("output_reasoning_mtok"),
    )


def _prices_of(day: date) -> date | None:
    """The newest change of any kept price that had come into force by `day`: how old the table is, at the most."""
    days = _days_of_change()
    place = bisect.bisect_right(days, day)
    return days[place - 1] if place else None


@cache
def _days_of_change() -> list[date]:
    from genai_prices.data_snapshot import get_snapshot

    days: set[date] = set()
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = model.prices if isinstance(model.prices, list) else []
            days.update(day for price in prices if (day := getattr(price.constraint, "start_date", None)))
    return sorted(days)
