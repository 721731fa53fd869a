"""Executions over REST: what comes in is what is read."""

import json
from typing import Any

import pytest

from api import executions, large
from collector.store.database import Database

from .conftest import Client, Send
from .spans import SECOND, START, attribute, span, span_id, trace_id

BASE = "/api/v1/executions"


async def test_an_execution_shows_its_steps_in_start_order(client: Client, send: Send) -> None:
    await send(
        span(1, 3, "rank", start=START + 5 * SECOND),
        span(1, 2, "fetch", start=START + 2 * SECOND, status="error", message="no such shelf"),
        span(1, 1, "recommend", start=START, duration=9 * SECOND, attributes={"xray.step.input": '{"user": 7}'}),
    )
    found = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert [step["name"] for step in found["steps"]] == ["recommend", "fetch", "rank"]
    assert [found[name] for name in ("name", "service", "status", "project")] == ["recommend", "shop", "ok", "default"]
    assert (found["duration_ms"], found["step_count"], found["error_count"]) == (9000.0, 3, 1)
    root, fetch, _ = found["steps"]
    assert root["input"] == {"user": 7}
    assert root["start_unix_nano"] == str(START)
    assert root["parent_span_id"] is None
    assert (fetch["status"], fetch["error"]["message"]) == ("error", "no such shelf")
    assert fetch["parent_span_id"] == span_id(1)


async def test_an_execution_without_its_root_is_running_and_says_so(client: Client, send: Send) -> None:
    await send(span(1, 2, "fetch"))
    whole = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    (listed,) = (await client.get(BASE)).json()["items"]
    assert (whole["status"], whole["root_missing"], whole["completed_at"]) == ("running", True, None)
    assert (listed["status"], listed["completed_at"]) == ("running", None)


async def test_an_execution_answers_to_the_senders_own_id(client: Client, send: Send) -> None:
    await send(span(1, 1, attributes={"xray.execution.id": "order-17/a b"}))
    await send(span(2, 1, attributes={"xray.execution.id": "order-18"}))
    by_own_id = (await client.get(f"{BASE}/order-18")).json()
    assert (by_own_id["execution_id"], by_own_id["trace_id"]) == ("order-18", trace_id(2))
    listed = (await client.get(BASE)).json()["items"]
    assert {item["execution_id"] for item in listed} == {"order-17/a b", "order-18"}


async def test_a_step_comes_whole_with_what_was_moved_to_its_input(client: Client, send: Send) -> None:
    exception = {
        "name": "exception",
        "timeUnixNano": str(START + 5),
        "attributes": [attribute("exception.type", "KeyError"), attribute("exception.message", "'shelf'")],
    }
    link = {"traceId": trace_id(9), "spanId": span_id(9), "attributes": [attribute("why", "retry of")]}
    sent = {"xray.step.input": '{"a": [1, 2]}', "xray.step.output": "plain text", "big": 2**63 - 1, "half": 0.5}
    await send(span(1, 1, attributes=sent, events=[exception], links=[link]), region="north")
    found = (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(1)}")).json()
    assert found["attributes"] == sent
    assert (found["input"], found["output"]) == ({"a": [1, 2]}, "plain text")
    assert found["error"] == {"type": "KeyError", "message": "'shelf'", "stacktrace": None}
    assert found["events"][0]["attributes"]["exception.type"] == "KeyError"
    assert (found["links"][0]["trace_id"], found["links"][0]["attributes"]) == (trace_id(9), {"why": "retry of"})
    assert found["resource"]["attributes"]["region"] == "north"
    assert set(found["scope"]) >= {"name", "version", "attributes"}
    assert found["trace_id"] == trace_id(1)


async def test_integers_of_64_bits_pass_through_unparsed(client: Client, send: Send) -> None:
    await send(span(1, 1, attributes={"big": 2**63 - 1, "small": -(2**63)}))
    answer = await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(1)}")
    assert json.loads(answer.text)["attributes"] == {"big": 2**63 - 1, "small": -(2**63)}
    assert "9223372036854775807" in answer.text


async def test_deleting_an_execution_leaves_nothing_of_it_and_all_of_the_others(
    client: Client, send: Send, database: Database
) -> None:
    await send(span(1, 1, status="error"), span(1, 2), span(2, 1))
    assert (await client.delete(f"{BASE}/{trace_id(1)}")).status_code == 204
    assert (await client.get(f"{BASE}/{trace_id(1)}")).status_code == 404
    assert (await client.delete(f"{BASE}/{trace_id(1)}")).status_code == 404
    async with database.connection() as conn:
        for table in ("executions", "steps", "reasoning_jobs"):
            left = await conn.fetch(f"SELECT DISTINCT trace_id FROM {table}")
            assert [row["trace_id"].hex() for row in left] == [trace_id(2)], table


async def test_what_does_not_exist_is_a_problem_with_status_404(client: Client, send: Send) -> None:
    await send(span(1, 1))
    paths = [
        f"{BASE}/{trace_id(2)}",
        f"{BASE}/nobody",
        f"{BASE}/{trace_id(1)}/steps/{span_id(5)}",
        f"{BASE}/{trace_id(1)}/steps/xyz",
        f"{BASE}/{trace_id(1)}?project=other",
        "/api/v1/nothing",
    ]
    for path in paths:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert answer.json()["status"] == 404
        assert answer.json()["title"] == "Not Found"


async def test_a_project_shows_only_its_own(client: Client, send: Send) -> None:
    await send(span(1, 1))
    await send(span(2, 1), **{"xray.project": "films"})
    for project, number in (("default", 1), ("films", 2)):
        (item,) = (await client.get(BASE, params={"project": project})).json()["items"]
        assert (item["project"], item["trace_id"]) == (project, trace_id(number))


async def test_otlp_comes_back_as_it_was_sent(client: Client, send: Send) -> None:
    link = {"traceId": trace_id(9), "spanId": span_id(9), "attributes": [attribute("why", "retry")]}
    event = {"name": "tick", "timeUnixNano": str(START + 7), "attributes": [attribute("half", 0.5)]}
    whole = {"traceState": "a=b", "flags": 257, "links": [link], "events": [event]}
    sent = [
        span(1, 1, "root", attributes={"int": 7, "double": 7.0, "yes": True, "xray.step.input": '{"a":1}'}, **whole),
        span(1, 2, "child", start=START + 3 * SECOND + 123, status="error", message="no"),
    ]
    await send(*sent, region="north")
    (resource,) = (await client.get(f"{BASE}/{trace_id(1)}/otlp")).json()["resourceSpans"]
    assert attribute("region", "north") in resource["resource"]["attributes"]
    (scope,) = resource["scopeSpans"]
    assert [_sorted(each) for each in scope["spans"]] == [_sorted(each) for each in sent]


def _sorted(span: dict[str, Any]) -> dict[str, Any]:
    """A span as protobuf's JSON writes it: without what is empty, attributes in one order."""
    attributes = sorted(span.get("attributes", []), key=lambda pair: pair["key"])
    status = {name: value for name, value in span["status"].items() if value}
    return {name: value for name, value in span.items() if value != []} | {"attributes": attributes, "status": status}


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_span_without_a_start_stretches_no_execution(client: Client, send: Send, is_first: bool) -> None:
    odd = span(1, 2, startTimeUnixNano="0", endTimeUnixNano=str(START + 2 * SECOND))
    for each in (odd, span(1, 1, start=START))[:: 1 if is_first else -1]:
        await send(each)
    found = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert (found["duration_ms"], found["step_count"], len(found["steps"])) == (2000.0, 2, 2)
    step = next(step for step in found["steps"] if step["span_id"] == span_id(2))
    assert (step["start_unix_nano"], step["duration_ms"]) == ("0", None)
    assert "no start time" in step["warnings"][0]


async def test_a_very_large_execution_comes_in_pages_and_whole_as_otlp(client: Client, send: Send) -> None:
    calls = [span(1, number, f"call {number}", start=START + number // 3) for number in range(2, 2502)]
    await send(span(1, 1, "root", start=START, attributes={"session.id": "s1"}), *calls)
    seen: list[str] = []
    params = {"steps_limit": "1000"}
    for _ in range(5):
        page = (await client.get(f"{BASE}/{trace_id(1)}", params=params)).json()
        assert (page["step_count"], page["name"], page["root_span_id"]) == (2501, "root", span_id(1))
        seen += [step["span_id"] for step in page["steps"]]
        if page["next_steps_cursor"] is None:
            break
        params["steps_cursor"] = page["next_steps_cursor"]
    assert seen == [span_id(number) for number in range(1, 2502)]
    whole = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert ([step["span_id"] for step in whole["steps"]], whole["next_steps_cursor"]) == (seen, None)
    otlp = (await client.get(f"{BASE}/{trace_id(1)}/otlp")).json()
    spans = [each for resource in otlp["resourceSpans"] for scope in resource["scopeSpans"] for each in scope["spans"]]
    assert [each["spanId"] for each in spans] == seen
    for bad in ({"steps_cursor": "x"}, {"steps_limit": "0"}, {"colour": "red"}):
        assert (await client.get(f"{BASE}/{trace_id(1)}", params=bad)).status_code == 400


async def test_a_large_execution_is_streamed_as_it_would_be_answered_at_once(
    client: Client, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(*(span(1, number, start=START + number, attributes={"n": number}) for number in range(1, 8)))
    at_once = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    monkeypatch.setattr(executions, "ASSEMBLED_STEPS", 2)
    monkeypatch.setattr(large, "PAGE_STEPS", 3)
    streamed = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert streamed["steps"] == at_once["steps"]
    assert streamed["next_steps_cursor"] is None
    assert set(streamed) == set(at_once)
    first = (await client.get(f"{BASE}/{trace_id(1)}?steps_limit=4")).json()
    rest = (await client.get(f"{BASE}/{trace_id(1)}?steps_cursor={first['next_steps_cursor']}")).json()
    assert (len(first["steps"]), first["steps"] + rest["steps"]) == (4, at_once["steps"])


async def test_a_step_of_a_very_large_execution_is_read_alone(
    client: Client, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "ASSEMBLED_STEPS", 2)
    await send(*(span(1, number, attributes={"n": number}) for number in range(1, 5)))
    found = (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(3)}")).json()
    assert (found["attributes"], found["parent_span_id"]) == ({"n": 3}, span_id(1))
    assert (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(9)}")).status_code == 404
