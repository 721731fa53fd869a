"""Model prices: what X-Ray takes, and prices of one's own that win over it. One table for all projects."""

import time
from datetime import date
from typing import Annotated, Literal

import msgspec
from litestar import delete, get, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from api.asked import AnyRequest, Given
from api.paths import spellings
from api.problems import BadQuery, Fault
from api.query import described, read_query
from collector.errors import NotFound, Rejected
from collector.mapping.prices import Listing
from collector.mapping.rates import Rate, Rates
from collector.store.prices import forget_price, read_prices, refresh, set_price

LONGEST_NAME = 200


class PriceQuery(msgspec.Struct, frozen=True, kw_only=True):
    model: Annotated[
        str | None, Meta(description="What X-Ray takes for this model (or provider/model); else all own prices.")
    ] = None


class NoQuery(msgspec.Struct, frozen=True):
    """Calls that understand no parameter."""


class PriceView(msgspec.Struct, kw_only=True):
    """US dollars for a million tokens; a rate that is null is the one of plain input (or output) tokens."""

    model: Annotated[str, Meta(description="A model, provider/model, or a pattern with *.")]
    source: Annotated[
        Literal["rest", "file", "package"],
        Meta(
            description="Set by REST, from XRAY_PRICES_FILE, or kept in X-Ray; the first that knows the model counts."
        ),
    ]
    priced_on: Annotated[date | None, Meta(description="The day of the price.")]
    input: float
    output: float
    cached: float | None
    cache_write: float | None
    cache_write_1h: float | None
    reasoning: float | None


class PricePage(msgspec.Struct):
    items: list[PriceView]
    next_cursor: None = None


class OwnPrice(msgspec.Struct, forbid_unknown_fields=True):
    """US dollars for a million tokens; a rate left out is the one of plain input (or output) tokens."""

    input: Rate | None = None
    output: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
    priced_on: Annotated[date | None, Meta(description="The day of the price; today where it is left out.")] = None


@get("/prices", operation_class=described(PriceQuery))
async def prices_page(request: AnyRequest, services: Given) -> PricePage:
    """With `model` the price that X-Ray takes for it (no item: none is known), else all prices of one's own."""
    query = read_query(request.query_params, PriceQuery)
    async with services.database.connection() as conn:
        own = await read_prices(conn)
    services.prices.override(own)
    if query.model is None:
        return PricePage([_view(listing) for listing in (*own, *services.prices.file)])
    provider, _, model = query.model.rpartition("/")
    found = services.prices.listing(provider or None, model, time.time_ns()) or services.prices.listing(
        None, query.model, time.time_ns()
    )
    return PricePage([_view(found)] if found else [])


@put("/prices/{model:path}", operation_class=described(NoQuery))
async def put_price(request: AnyRequest, services: Given, model: FromPath[str], data: JSONBody[OwnPrice]) -> PriceView:
    """Set the price of a model (or provider/model; * stands for any text) for what is read or settled from now on."""
    read_query(request.query_params, NoQuery)
    name = _name(model)
    if data.input is None and data.output is None:
        raise Rejected("Name `input` or `output`: US dollars for a million tokens.")
    given = msgspec.structs.asdict(data)
    priced_on = given.pop("priced_on")
    rates = Rates(**given | {"input": data.input or 0.0, "output": data.output or 0.0})
    async with services.database.connection() as conn, conn.transaction():
        await set_price(conn, name, rates, priced_on)
        own = await read_prices(conn)
    services.prices.override(own)
    return next(_view(listing) for listing in own if listing.name == name)


@delete("/prices/{model:path}", operation_class=described(NoQuery), status_code=204)
async def delete_price(request: AnyRequest, services: Given, model: FromPath[str]) -> None:
    """Forget a price that was set by REST: the file's or the kept one counts again."""
    read_query(request.query_params, NoQuery)
    name = _name(model)
    async with services.database.connection() as conn, conn.transaction():
        is_gone = await forget_price(conn, name)
    if not is_gone:
        raise NotFound(f"No price of {name!r} was set by REST.")
    await refresh(services.database, services.prices)


def _name(path: str) -> str:
    """The model of a path; those with a slash may come as they are or escaped."""
    name = spellings(str(path))[-1].removeprefix("/").lower()
    if not 0 < len(name) <= LONGEST_NAME or "\x00" in name:
        raise BadQuery([Fault("model", f"a model's name has 1 to {LONGEST_NAME} characters, none of them NUL.")])
    return name


def _view(listing: Listing) -> PriceView:
    rates = msgspec.structs.asdict(listing.rates)
    return PriceView(model=listing.name, source=listing.source, priced_on=listing.at, **rates)
