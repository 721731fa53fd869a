"""Model prices over REST: what is taken, set, seen by others, and forgotten."""

from typing import Any

import pytest

from api.services import Services
from collector.mapping.prices import PriceTable
from collector.mapping.rates import Rates
from collector.store.prices import refresh

from .conftest import Client, Send
from .spans import span, trace_id

MILLION = 1_000_000
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "house/m-7", "gen_ai.usage.input_tokens": MILLION}


async def cost(client: Client) -> float | None:
    found: float | None = (await client.get(f"/api/v1/executions/{trace_id(1)}")).json()["cost_usd"]
    return found


async def items(client: Client, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/api/v1/prices", params=params)).json()["items"]
    return found


async def test_a_price_is_set_taken_and_forgotten(client: Client, send: Send, services: Services) -> None:
    await send(span(1, 1, attributes=CALL))
    assert (await cost(client), await items(client, model="house/m-7")) == (None, [])
    body = {"input": 3, "output": 15, "priced_on": "2026-11-02"}
    answer = await client.put("/api/v1/prices/house/M-7", json=body)
    expected = {"model": "house/m-7", "source": "rest", "priced_on": "2026-11-02", "input": 3, "output": 15}
    assert (answer.status_code, answer.json()) == (200, answer.json() | expected)
    assert await items(client, model="house/m-7") == await items(client) == [answer.json()]
    assert await cost(client) == 3
    assert (await client.get(f"/api/v1/executions/{trace_id(1)}")).json()["prices_at"] == "2026-11-02"
    another = PriceTable()
    await refresh(services.database, another)
    assert another.listing("house", "m-7", 0) is not None
    assert (await client.put("/api/v1/prices/house%2Fm-7", json={"input": 4})).status_code == 200
    assert await cost(client) == 4
    assert (await client.delete("/api/v1/prices/house/m-7")).status_code == 204
    assert (await client.delete("/api/v1/prices/house/m-7")).status_code == 404
    assert await cost(client) is None


async def test_kept_prices_and_those_of_the_file_are_told_apart(client: Client, services: Services) -> None:
    services.prices = PriceTable({"local/*": Rates(input=1)})
    taken = [(await items(client, model=model))[0] for model in ("local/x", "gpt-4o", "openai/gpt-4o")]
    assert [(each["source"], each["input"]) for each in taken] == [("file", 1), ("package", 2.5), ("package", 2.5)]
    assert taken[1]["priced_on"] is not None
    assert [each["model"] for each in await items(client)] == ["local/*"]


@pytest.mark.parametrize("body", [{}, {"input": -1}, {"inptu": 1}, {"input": "x"}, {"output": 1, "priced_on": "soon"}])
async def test_a_wrong_price_is_refused(client: Client, body: dict[str, Any]) -> None:
    answer = await client.put("/api/v1/prices/m", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert await items(client) == []
