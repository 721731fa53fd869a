"""Log records over REST: events of the step that they name, else of the execution."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.mapping import record_events
from collector.mapping.logs import map_logs
from collector.mapping.values import NUL_NOTE
from collector.store import records
from collector.store.database import Database
from collector.store.writer import Writer

from .conftest import Client, Send
from .spans import SECOND, START, attribute, in_base64, span, span_id, trace_id

BASE = "/api/v1/executions"
SendLogs = Callable[..., Awaitable[None]]


def line(text: str, trace: int = 1, number: int | None = None, at: float = 0, **more: Any) -> dict[str, Any]:
    ids = {"traceId": trace_id(trace)} | ({"spanId": span_id(number)} if number else {})
    body = {"timeUnixNano": str(START + int(at * SECOND)), "severityNumber": 9, "body": {"stringValue": text}}
    return in_base64(ids) | body | more


@pytest.fixture
def send_logs(database: Database, writer: Writer) -> SendLogs:
    async def store(*lines: dict[str, Any]) -> None:
        resource = {"attributes": [attribute("service.name", "till")]}
        body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": lines}]}]}
        whole = json_format.ParseDict(body, ExportLogsServiceRequest())
        project = await database.project_id("default")
        assert not await writer.write(map_logs(whole, lambda _: project))

    return store


def told(events: list[dict[str, Any]]) -> list[str]:
    return [event.get("body") or event["name"] for event in events]


@pytest.mark.parametrize("seed", range(3))
async def test_records_are_events_of_their_step_or_execution_once_and_in_time(
    client: Client, send: Send, send_logs: SendLogs, seed: int
) -> None:
    retry = {"name": "retry", "timeUnixNano": str(START + 3 * SECOND)}
    spans = [span(1, 1, "buy"), span(1, 2, "pay", events=[retry])]
    lines = [
        line("asking the bank", number=2, at=2.5),
        line("no answer", number=2, at=3.5, severityNumber=17),
        line("cache is cold", at=1),
        line("of a span that never comes", number=9, at=2),
    ]
    sending = [lambda part=part: send(part) for part in spans] + [lambda part=part: send_logs(part) for part in lines]
    sending += [lambda: send_logs(*lines)]
    random.Random(seed).shuffle(sending)
    for one in sending:
        await one()

    whole = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert told(whole["events"]) == ["cache is cold", "of a span that never comes"]
    assert [event["span_id"] for event in whole["events"]] == [None, span_id(9)]
    step = (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(2)}")).json()
    assert told(step["events"]) == ["asking the bank", "retry", "no answer"]
    assert [event.get("source") for event in step["events"]] == ["log", None, "log"]
    assert step["events"][2]["severity_text"] == "ERROR"
    assert (step["events_left_out"], whole["events_left_out"]) == (0, 0)


async def test_what_was_altered_in_a_record_is_told_by_its_event_and_its_step(
    client: Client, send: Send, send_logs: SendLogs
) -> None:
    await send(span(1, 1))
    await send_logs(line("n\x00l", number=1), line("n\x00ne", at=1))
    whole = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    step = (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(1)}")).json()
    for warnings in (step["warnings"], step["events"][0]["warnings"], whole["events"][0]["warnings"]):
        assert warnings == [NUL_NOTE]


async def test_a_trace_of_log_records_alone_is_found_by_its_id_until_it_is_deleted(
    client: Client, send: Send, send_logs: SendLogs
) -> None:
    await send(span(2, 1))
    await send_logs(line("starting", at=1), line("working", number=2, at=3))
    url = f"{BASE}/{trace_id(1)}"
    whole = (await client.get(url)).json()
    assert (whole["steps"], whole["step_count"], whole["root_missing"], whole["service"]) == ([], 0, True, "till")
    assert (whole["status"], whole["name"], told(whole["events"])) == ("running", "till", ["starting", "working"])
    assert whole["warnings"][0] == "nothing but log records has come of this trace"
    assert [item["trace_id"] for item in (await client.get(BASE)).json()["items"]] == [trace_id(2)]
    assert (await client.get(f"{url}/steps/{span_id(2)}")).status_code == 404

    await send(span(1, 1, "buy"), span(1, 2, "pay"))
    assert (await client.get(url)).json()["name"] == "buy"
    assert told((await client.get(f"{url}/steps/{span_id(2)}")).json()["events"]) == ["working"]

    await send_logs(line("alone", trace=3))
    assert (await client.delete(f"{BASE}/{trace_id(3)}")).status_code == 204
    assert (await client.get(f"{BASE}/{trace_id(3)}")).status_code == 404


async def test_of_very_many_records_errors_and_early_ones_are_shown(
    client: Client, send: Send, send_logs: SendLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 8)
    monkeypatch.setattr(record_events, "MOST_EVENTS", 3)
    await send(span(1, 1))
    for number in (None, 1):
        lines = [line(f"line {i}", number=number, at=i) for i in range(9)]
        await send_logs(*lines, line("it failed", number=number, at=20, severityNumber=17))
    step = (await client.get(f"{BASE}/{trace_id(1)}/steps/{span_id(1)}")).json()
    assert (told(step["events"]), step["events_left_out"]) == (["line 0", "line 1", "it failed"], 7)
    whole = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert (told(whole["events"]), whole["events_left_out"]) == (["line 0", "line 1", "it failed"], 7)


async def test_a_page_of_a_large_execution_has_the_records_of_no_step(
    client: Client, send: Send, send_logs: SendLogs
) -> None:
    await send(*(span(1, number) for number in range(1, 6)))
    await send_logs(line("of a step", number=2), line("of none"), line("of one that did not come", number=9, at=1))
    first = (await client.get(f"{BASE}/{trace_id(1)}?steps_limit=3")).json()
    assert told(first["events"]) == ["of none", "of one that did not come"]
    after = {"steps_limit": 3, "steps_cursor": first["next_steps_cursor"]}
    assert (await client.get(f"{BASE}/{trace_id(1)}", params=after)).json()["events"] == []
