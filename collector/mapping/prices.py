"""What a model call costs: kept prices, and rates of one's own that win over them.

Own rates come from two places: those set by REST win over those of the file (XRAY_PRICES_FILE), and both over what the
`genai-prices` package holds.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from collector.mapping.kept_prices import KeptModel, find_model
from collector.mapping.rates import Rates, cost_usd
from collector.model import Step, Tokens

NAMES_KEPT = 10_000
"""Names of models are a sender's to choose: no more of them are remembered."""

Source = Literal["rest", "file", "package"]


class Price(NamedTuple):
    """A cost, and the day of the prices behind it (None: rates of one's own that bear no date)."""

    usd: float
    at: date | None


class Listing(NamedTuple):
    """Rates of a model as a table has them; `name` may be a pattern."""

    name: str
    rates: Rates
    at: date | None
    source: Source


class PriceTable:
    """Prices by provider and model.

    Own rates are by `provider/model` or `model`; `*` stands for any text, and of several that fit the longest wins.
    A model that nobody knows has no price, which is not the same as 0.
    """

    def __init__(self, own: Mapping[str, Rates] | None = None, dated: date | None = None) -> None:
        self._file = tuple(Listing(name, rates, dated, "file") for name, rates in (own or {}).items())
        self._rest: dict[str, Listing] = {}
        self._lookup = _Lookup([_by_name(self._file)])

    def override(self, listings: Iterable[Listing]) -> None:
        """From now on these win over the file and the package, in place of the ones given before."""
        own = _by_name(listings)
        if own != self._rest:
            self._rest = own
            # One assignment: a thread that prices an execution meanwhile goes on with the old ones.
            self._lookup = _Lookup([own, _by_name(self._file)])

    def price(self, step: Step) -> Price | None:
        """What this call costs, or None where its tokens or its price are not known."""
        tokens = step.tokens
        if tokens is None or (tokens.input is None and tokens.output is None):
            return None
        asked = step.extra.request_model if step.extra else None
        for model in dict.fromkeys(name for name in (step.model, asked) if name):
            found = _price(self._lookup.find(step.provider, model), step, tokens)
            if found is not None:
                return found
        return None

    def listing(self, provider: str | None, model: str, at_ns: int) -> Listing | None:
        """The rates that a call of this model at this time is priced by (the first step of stepped ones)."""
        found = self._lookup.find(provider, model)
        if not isinstance(found, KeptModel):
            return found
        kept = found.price(at_ns)
        return Listing(model, kept.rates, kept.at, "package") if kept else None

    @property
    def file(self) -> tuple[Listing, ...]:
        """The rates of the file."""
        return self._file


def _price(found: Listing | KeptModel | None, step: Step, tokens: Tokens) -> Price | None:
    hour = (step.extra.cache_write_1h if step.extra else None) or 0
    if isinstance(found, KeptModel):
        kept = found.price(step.start_ns, step.extra.service_tier if step.extra else None, tokens.input or 0)
        return Price(cost_usd(kept.rates, tokens, hour), kept.at) if kept else None
    return Price(cost_usd(found.rates, tokens, hour), found.at) if found else None


def _by_name(listings: Iterable[Listing]) -> dict[str, Listing]:
    return {listing.name.lower(): listing for listing in listings}


class _Lookup:
    """Finds models, first in own rates and then in the kept ones, and remembers what it found."""

    def __init__(self, layers: list[dict[str, Listing]]) -> None:
        self._layers = layers
        self._known: dict[tuple[str | None, str], Listing | KeptModel | None] = {}

    def find(self, provider: str | None, model: str) -> Listing | KeptModel | None:
        key = (provider or "").lower() or None, model.lower()
        with suppress(KeyError):
            return self._known[key]
        found = next((own for layer in self._layers if (own := _own(layer, *key))), None) or find_model(*key)
        if len(self._known) >= NAMES_KEPT:
            self._known.clear()
        self._known[key] = found
        return found


def _own(layer: dict[str, Listing], provider: str | None, model: str) -> Listing | None:
    names = ([f"{provider}/{model}"] if provider else []) + [model]
    for name in names:
        if name in layer:
            return layer[name]
    fitting = [key for key in layer if "*" in key and any(fnmatchcase(name, key) for name in names)]
    return layer[max(fitting, key=lambda key: (len(key), key))] if fitting else None
