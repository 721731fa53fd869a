"""The list: filters, pages, limits."""

from typing import Any

import pytest
from sqlalchemy import text

from collector.errors import Rejected
from collector.store.database import Database
from collector.store.search import searching

from .conftest import Client, Send
from .spans import SECOND, START, span, trace_id

BASE = "/api/v1/executions"
HOUR = 3600 * SECOND


async def listed(client: Client, **params: Any) -> list[int]:
    answer = await client.get(BASE, params=params)
    assert answer.status_code == 200, answer.text
    return [int(item["trace_id"], 16) for item in answer.json()["items"]]


@pytest.fixture
async def three(send: Send) -> None:
    llm = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small-1", "note": "blue_moon", "count": 7}
    await send(span(1, 1, "find films", start=START), span(1, 2, "chat", start=START, attributes=llm), service="films")
    await send(
        span(2, 1, "pay 100%", start=START + HOUR, duration=5 * SECOND, attributes={"user.id": "ann"}),
        span(2, 2, "charge", start=START + HOUR, status="error", message="card refused"),
        service="shop",
    )
    await send(span(3, 1, "find books", start=START + 2 * HOUR, status="error"), service="shop", region="north")


FILTERS = [
    ({}, [3, 2, 1]),
    ({"service": "shop"}, [3, 2]),
    ({"name": "find films"}, [1]),
    ({"name": "find *"}, [3, 1]),
    ({"name": "pay 100%"}, [2]),
    ({"name": "pay_100%"}, []),
    ({"status": "error"}, [3]),
    ({"has_error": "true"}, [3, 2]),
    ({"has_error": "false"}, [1]),
    ({"kind": "llm"}, [1]),
    ({"min_duration_ms": 4999.5}, [2]),
    ({"max_duration_ms": 5000}, [3, 2, 1]),
    ({"since": "2026-09-21T14:13:20Z", "until": "2026-09-21T15:13:20Z"}, [1]),
    ({"since": "2026-09-21T15:13:20+00:00"}, [3, 2]),
    ({"q": "card REFUSED"}, [2]),
    ({"q": "find"}, [3, 1]),
    ({"q": "100%"}, [2]),
    ({"q": "%"}, [2]),
    ({"q": trace_id(3)[:31]}, [3, 2, 1]),
    ({"q": trace_id(3)}, [3]),
    ({"attr.note": "blue_moon"}, [1]),
    ({"attr.count": "7"}, [1]),
    ({"attr.count": "8"}, []),
    ({"attr.region": "north"}, [3]),
    ({"attr.note": "blue_moon", "attr.count": "7"}, [1]),
    ({"attr.note": "blue_moon", "attr.region": "north"}, []),
    ({"service": "shop", "has_error": "true", "q": "books"}, [3]),
]


@pytest.mark.usefixtures("three")
async def test_every_filter_finds_what_it_names_and_nothing_else(client: Client) -> None:
    assert START == 1_790_000_000 * SECOND
    for params, expected in FILTERS:
        assert await listed(client, **params) == expected, params


async def test_pages_hold_everything_once_also_where_times_are_equal(client: Client, send: Send) -> None:
    await send(*(span(number, 1, start=START + number // 4 * SECOND) for number in range(1, 24)))
    seen: list[int] = []
    params: dict[str, str] = {"limit": "5"}
    for _ in range(10):
        page = (await client.get(BASE, params=params)).json()
        seen += [int(item["trace_id"], 16) for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == list(range(23, 0, -1))


async def test_a_page_that_ends_exactly_at_the_last_one_has_no_next(client: Client, send: Send) -> None:
    await send(span(1, 1), span(2, 1))
    assert (await client.get(BASE, params={"limit": 2})).json()["next_cursor"] is None


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"limit": "0"}, "limit"),
    ({"limit": "501"}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"status": "fine"}, "status"),
    ({"kind": "robot"}, "kind"),
    ({"since": "yesterday"}, "since"),
    ({"since": "99999999999d"}, "since"),
    ({"since": "999999w"}, "since"),
    ({"min_duration_ms": "-1"}, "min_duration_ms"),
    ({"min_duration_ms": "nan"}, "min_duration_ms"),
    ({"max_duration_ms": "inf"}, "max_duration_ms"),
    ({"has_error": "perhaps"}, "has_error"),
    ({"cursor": "abc"}, "cursor"),
    ({"cursor": "!!!"}, "cursor"),
    ({"cursor": "f" * 32}, "cursor"),
    ({"q": "x" * 1001}, "q"),
    ({"q": "a\0b"}, "q"),
    ({"attr.a": "a\0b"}, "attr.a"),
    ({"attr.": "a"}, "attr."),
    ({"colour": "red"}, "colour"),
    ({"attributes": "a"}, "attributes"),
    ({"service": ["a", "b"]}, "service"),
    ({"tag": ["t"] * 11}, "tag"),
]


async def test_a_parameter_that_is_not_possible_is_named_in_a_400(client: Client) -> None:
    for params, parameter in IMPOSSIBLE:
        answer = await client.get(BASE, params=params)
        assert answer.status_code == 400, answer.text
        assert [fault["parameter"] for fault in answer.json()["errors"]] == [parameter]


async def test_all_wrong_parameters_are_named_at_once(client: Client) -> None:
    answer = await client.get(BASE, params={"limit": "0", "status": "fine", "colour": "red"})
    assert {fault["parameter"] for fault in answer.json()["errors"]} == {"limit", "status", "colour"}


async def test_words_that_are_possible_are_named(client: Client) -> None:
    answer = await client.get(BASE, params={"status": "fine", "kind": "robot"})
    status, kind = (fault["detail"] for fault in answer.json()["errors"])
    assert status == "'fine' is not possible: choose one of error, ok, running"
    assert "agent, chain, db" in kind


async def test_a_search_that_takes_too_long_is_stopped_and_says_what_to_do(database: Database) -> None:
    with pytest.raises(Rejected, match="narrow it with since"):
        async with searching(database, limit_ms=20) as conn:
            await conn.execute(text("SELECT pg_sleep(10)"))
