"""Executions over REST: what comes in is what is read."""

from .conftest import Client, Send
from .spans import SECOND, START, span, span_id, trace_id

BASE = "/api/v1/executions"


async def test_an_execution_shows_its_steps_in_start_order(client: Client, send: Send) -> None:
    await send(
        span(1, 3, "rank", start=START + 5 * SECOND),
        span(1, 2, "fetch", start=START + 2 * SECOND, status="error", message="no such shelf"),
        span(1, 1, "recommend", start=START, duration=9 * SECOND, attributes={"xray.step.input": '{"user": 7}'}),
    )
    found = (await client.get(f"{BASE}/{trace_id(1)}")).json()
    assert [step["name"] for step in found["steps"]] == ["recommend", "fetch", "rank"]
    assert (found["name"], found["service"], found["status"], found["project"]) == (
        "recommend",
        "shop",
        "ok",
        "default",
    )
    assert (found["duration_ms"], found["step_count"], found["error_count"]) == (9000.0, 3, 1)
    root, fetch, _ = found["steps"]
    assert root["input"] == {"user": 7}
    assert root["start_unix_nano"] == str(START)
    assert root["parent_span_id"] is None
    assert (fetch["status"], fetch["error"]["message"]) == ("error", "no such shelf")
    assert fetch["parent_span_id"] == span_id(1)
