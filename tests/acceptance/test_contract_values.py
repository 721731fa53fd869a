"""Values as they come back: exact in OTLP out, readable in attributes, and named where they had to be altered."""

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.acceptance.client import PROTOBUF, Project, step
from tests.integration.receiver.otlp import IDS, otlp_json, pairs, traces
from tests.processes import XRay

EVERY_TYPE: dict[str, Any] = {
    "text": "ä😀",
    "empty text": "",
    "most": 2**63 - 1,
    "least": -(2**63),
    "zero": 0,
    "double": 1.0,
    "third": 1 / 3,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "yes": True,
    "no": False,
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "nothing": None,
    "mixed": [1, 1.0, "x", b"z", None, True, [[]], {}],
    "no items": [],
    "map": {"a": {"b": 2**60}, "": None},
    "no keys": {},
    "": "empty key",
}
READABLE = EVERY_TYPE | {
    "nan": "NaN",
    "inf": "Infinity",
    "minus inf": "-Infinity",
    "bytes": "AP8=",
    "no bytes": "",
    "mixed": [1, 1.0, "x", "eg==", None, True, [[]], {}],
}


@pytest.fixture(scope="module")
def values(xray: XRay) -> Iterator[Project]:
    project = Project(xray, "values")
    yield project
    project.close()


def only_step(project: Project, trace_id: str) -> Any:
    (found,) = project.execution(trace_id)["steps"]
    return project.step(trace_id, bytes.fromhex(found["span_id"]))


def everything() -> ExportTraceServiceRequest:
    """A request that uses every field there is."""
    root = step("root", attributes=EVERY_TYPE, trace_state="ot=th:c,x=y", flags=0x301, kind=Span.SPAN_KIND_SERVER)
    root.dropped_attributes_count, root.dropped_events_count, root.dropped_links_count = 1, 2, 3
    root.events.add(name="tick", time_unix_nano=1, attributes=pairs(EVERY_TYPE), dropped_attributes_count=4)
    root.events.add(name="", time_unix_nano=0)
    link = {"trace_id": os.urandom(16), "span_id": os.urandom(8), "trace_state": "a=b", "flags": 0x101}
    root.links.add(**link, attributes=pairs(EVERY_TYPE), dropped_attributes_count=5)
    root.links.add(trace_id=bytes(16), span_id=bytes(8))
    root.status.code, root.status.message = 2, "no"
    odd = step("odd", trace_id=root.trace_id, parent_span_id=root.span_id, kind=77)
    odd.status.code = 1
    odd.attributes.extend(pairs({"twice": 1}))
    odd.attributes.extend(pairs({"twice": "two", "xray.step.input": '{"a": [1, 2]}', "xray.step.output": "text"}))
    request = traces(root, odd, resource={"xray.project": "values"} | EVERY_TYPE)
    resource = request.resource_spans[0]
    resource.schema_url, resource.resource.dropped_attributes_count = "https://schema/resource", 6
    scope = resource.scope_spans[0]
    scope.schema_url, scope.scope.version = "https://schema/scope", "1.2"
    scope.scope.attributes.extend(pairs(EVERY_TYPE))
    scope.scope.dropped_attributes_count = 7
    return request


def as_request(document: Any) -> ExportTraceServiceRequest:
    """OTLP/JSON as a message: hex ids are base64 in protobuf's own JSON."""

    def with_base64(value: Any) -> Any:
        if isinstance(value, list):
            return [with_base64(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64encode(bytes.fromhex(each)).decode() if key in IDS else with_base64(each)
            for key, each in value.items()
        }

    return json_format.ParseDict(with_base64(document), ExportTraceServiceRequest())


@pytest.mark.parametrize("route", ["protobuf", "json"])
def test_otlp_comes_back_exactly_as_it_was_sent(values: Project, route: str) -> None:
    sent = everything()
    if route == "protobuf":
        values.post(sent)
    else:
        assert values.post_json(otlp_json(sent)).status_code == 200
    trace_id = sent.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    answer = values.get(f"/executions/{trace_id}/otlp")
    assert as_request(answer).SerializeToString(deterministic=True) == sent.SerializeToString(deterministic=True)
    first = answer["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert first["startTimeUnixNano"] == str(sent.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano)
    assert {"key": "most", "value": {"intValue": "9223372036854775807"}} in first["attributes"]


def test_what_comes_out_as_otlp_can_be_sent_again_and_changes_nothing(values: Project) -> None:
    sent = everything()
    values.post(sent)
    trace_id = sent.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    before = values.execution(trace_id)
    assert values.post_json(values.ask(f"/executions/{trace_id}/otlp").content).status_code == 200
    after = values.execution(trace_id)
    assert [after[name] for name in ("step_count", "tokens")] == [before[name] for name in ("step_count", "tokens")]


def test_attributes_are_readable_everywhere(values: Project) -> None:
    sent = everything()
    values.post(sent)
    root, odd = sent.resource_spans[0].scope_spans[0].spans
    found = values.step(root.trace_id.hex(), root.span_id)
    own = {name: found["resource"]["attributes"].pop(name) for name in ("service.name", "xray.project")}
    assert own == {"service.name": "shop", "xray.project": "values"}
    places = [found["attributes"], found["events"][0]["attributes"], found["links"][0]["attributes"]]
    for place in (*places, found["resource"]["attributes"], found["scope"]["attributes"]):
        assert json.dumps(place, sort_keys=True) == json.dumps(READABLE, sort_keys=True)
    assert (found["trace_state"], found["flags"]) == ("ot=th:c,x=y", 0x301)
    last = values.step(root.trace_id.hex(), odd.span_id)
    assert (last["attributes"]["twice"], last["input"], last["output"]) == ("two", {"a": [1, 2]}, "text")
    assert last["attributes"]["xray.step.input"] == '{"a": [1, 2]}'


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('{"a": 18446744073709551615}', {"a": 18446744073709551615}),
        ("[1, 2]", [1, 2]),
        ("plain", "plain"),
        ('{"broken', '{"broken'),
        ({"a": 2**63 - 1}, {"a": 2**63 - 1}),
        (["x", 1.5], ["x", 1.5]),
        (7, 7),
        (False, False),
        (b"\x00\xff", "AP8="),
    ],
    ids=repr,
)
def test_content_is_json_where_it_was_and_text_else(values: Project, given: Any, shown: Any) -> None:
    own = {f"xray.{name}": given for name in ("step.input", "step.output", "execution.metadata", "execution.outcome")}
    trace_id = values.send(step("content", attributes=own))
    found = values.execution(trace_id)
    assert [found["steps"][0]["input"], found["steps"][0]["output"]] == [shown, shown]
    assert [found["metadata"], found["final_outcome"]] == [shown, shown]


def test_own_attributes_win_over_every_dialect(values: Project) -> None:
    others = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "theirs"}]}]',
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "theirs"}]}]',
        "input.value": "theirs",
        "output.value": "theirs",
        "metadata": '{"theirs": 1}',
        "traceloop.entity.input": "theirs",
        "langfuse.trace.metadata": '{"theirs": 2}',
        "langfuse.trace.output": "theirs",
    }
    own = {
        "xray.step.input": "ours",
        "xray.step.output": "[1]",
        "xray.execution.metadata": '{"ours": 1}',
        "xray.execution.outcome": '{"ours": 2}',
        "xray.execution.id": "ours",
    }
    values.send(step("chat", attributes=others | own))
    found = values.execution("ours")
    assert [found["steps"][0]["input"], found["steps"][0]["output"], found["steps"][0]["kind"]] == ["ours", [1], "llm"]
    assert [found["metadata"], found["final_outcome"]] == [{"ours": 1}, {"ours": 2}]


def test_bad_text_costs_only_itself(values: Project) -> None:
    good, bad = step("good"), step("WXYZ bad", attributes={"key": "before QQQQ after", "other": "fine"})
    bad.trace_id = good.trace_id
    body = traces(good, bad, resource={"xray.project": "values"}).SerializeToString()
    body = body.replace(b"WXYZ", b"\xff\x00\xc3\x28").replace(b"QQQQ", b"\xed\xa0\x80\x00")
    answer = values.http.post("/v1/traces", content=body, headers={"content-type": PROTOBUF})
    assert (answer.status_code, answer.content) == (200, b"")
    steps = {each["span_id"]: each for each in values.execution(good.trace_id.hex())["steps"]}
    assert steps[good.span_id.hex()]["warnings"] == []
    altered = steps[bad.span_id.hex()]
    assert altered["name"].startswith("\ufffd")
    assert altered["name"].endswith("( bad")
    assert any("UTF-8" in warning for warning in altered["warnings"])
    assert any("NUL" in warning for warning in altered["warnings"])
    attributes = values.step(good.trace_id.hex(), bad.span_id)["attributes"]
    assert attributes["other"] == "fine"
    assert (attributes["key"][:7], attributes["key"][-6:]) == ("before ", " after")


def test_lone_surrogates_and_nul_in_json_are_replaced_and_named(values: Project) -> None:
    trace_id, now = os.urandom(16).hex(), time.time_ns()
    document = {
        "traceId": trace_id,
        "spanId": os.urandom(8).hex(),
        "name": "SURROGATE",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": now + 5,
        "attributes": [{"key": "k", "value": {"stringValue": "SURROGATE 😀"}}],
    }
    project = {"attributes": [{"key": "xray.project", "value": {"stringValue": "values"}}]}
    text = json.dumps({"resourceSpans": [{"resource": project, "scopeSpans": [{"spans": [document]}]}]})
    assert values.post_json(text.replace("SURROGATE", r"a\ud800\u0000b")).text == "{}"
    found = only_step(values, trace_id)
    assert (found["name"], found["attributes"]["k"]) == ("a\ufffd\ufffdb", "a\ufffd\ufffdb 😀")
    assert len(found["warnings"]) == 2


@pytest.mark.parametrize("depth", [40, 64, 500])
def test_deep_values_cost_at_most_themselves(values: Project, depth: int) -> None:
    good, bad = step("good"), step("deep", attributes={"other": "fine"})
    bad.trace_id = good.trace_id
    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    spans = field(2, good.SerializeToString()) + field(
        2, bad.SerializeToString() + field(9, field(1, b"deep") + field(2, value))
    )
    resource = traces(resource={"xray.project": "values"}).resource_spans[0].resource.SerializeToString()
    body = field(1, field(1, resource) + field(2, spans))
    answer = values.http.post("/v1/traces", content=body, headers={"content-type": PROTOBUF})
    assert (answer.status_code, answer.content) == (200, b"")
    assert values.execution(good.trace_id.hex())["step_count"] == 2
    found = values.step(good.trace_id.hex(), bad.span_id)
    assert found["attributes"]["other"] == "fine"
    assert "deep" in found["attributes"]
    assert bool(found["warnings"]) == (depth >= 64)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field, without the limits of the library."""
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


NOW = time.time_ns()


@pytest.mark.parametrize(
    ("start", "end", "duration_ms"),
    [
        (NOW, NOW, 0.0),
        (NOW, NOW + 1, 1e-6),
        (0, 0, None),
        (0, NOW, None),
        (NOW, 0, None),
        (NOW, NOW - 1, None),
        (NOW, 2**64 - 1, ...),
        (2**64 - 1, 2**64 - 1, ...),
        (2**63, 2**63 + 5, ...),
    ],
    ids=str,
)
def test_odd_times_are_stored_and_named(values: Project, start: int, end: int, duration_ms: Any) -> None:
    sent = step("odd", start_time_unix_nano=start, end_time_unix_nano=end)
    trace_id = values.send(sent)
    found = only_step(values, trace_id)
    if duration_ms is not ...:
        assert found["duration_ms"] == duration_ms
        assert found["start_unix_nano"] == str(start)
    assert found["duration_ms"] is None or found["duration_ms"] >= 0
    assert bool(found["warnings"]) == (duration_ms in (None, ...))
    whole = values.execution(trace_id)
    assert whole["duration_ms"] >= 0
    assert [item["trace_id"] for item in values.get("/executions", q=trace_id)["items"]] == [trace_id]
    (back,) = as_request(values.get(f"/executions/{trace_id}/otlp")).resource_spans[0].scope_spans[0].spans
    assert (back.start_time_unix_nano, back.end_time_unix_nano) == (start, end)


def test_the_same_again_changes_nothing(values: Project) -> None:
    sent = everything()
    sent.resource_spans[0].scope_spans[0].spans[0].attributes.extend(
        pairs({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5, "gen_ai.request.model": "gpt-4o"})
    )
    values.post(sent)
    trace_id = sent.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    stored = ("step_count", "error_count", "tokens", "cost_usd", "warnings", "duration_ms")
    before = values.execution(trace_id)
    for _ in range(3):
        values.post(sent)
    after = values.execution(trace_id)
    assert [after[name] for name in stored] == [before[name] for name in stored]
    assert (after["step_count"], after["tokens"]["input"]) == (2, 5)
    assert len({each["span_id"] for each in after["steps"]}) == 2


def test_bad_spans_are_refused_one_by_one(values: Project) -> None:
    good = step("good")
    bad = [step("no trace", trace_id=b""), step("zero", trace_id=bytes(16)), step("short", span_id=b"\x01")]
    request = traces(good, *bad, resource={"xray.project": "values"})
    answer = values.http.post("/v1/traces", content=otlp_json(request), headers={"content-type": "application/json"})
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert int(partial["rejectedSpans"]) == 3
    assert partial["errorMessage"]
    assert values.execution(good.trace_id.hex())["step_count"] == 1


def test_any_value_is_harmless_in_every_known_place(values: Project) -> None:
    """Wrong types under names that X-Ray reads: kept, shown, never a fault."""
    names = (
        *("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.input.messages"),
        *("input.value", "openinference.span.kind", "llm.token_count.prompt", "session.id", "user.id", "tag.tags"),
        *("http.response.status_code", "db.system", "error.type", "xray.execution.id", "xray.step.kind", "metadata"),
        *("traceloop.span.kind", "ai.operationId", "langfuse.observation.type", "mlflow.spanType", "service.name"),
    )
    odd = [None, -1, 2**63 - 1, 1.5, float("nan"), True, "", "{", "[" * 200, b"\xff", [None, {}], {"a": []}, "x" * 9000]
    spans = [step(f"odd {number}", attributes=dict.fromkeys(names, value)) for number, value in enumerate(odd)]
    for each in spans:
        each.trace_id = spans[0].trace_id
        each.status.SetInParent()  # as senders write it: an empty one says as much as none
    values.post(traces(*spans, resource={"xray.project": "values"}))
    found = values.execution(spans[0].trace_id.hex())
    assert found["step_count"] == len(odd)
    back = as_request(values.get(f"/executions/{spans[0].trace_id.hex()}/otlp"))
    by_name = {one.name: one for one in back.resource_spans[0].scope_spans[0].spans}
    for each in spans:
        assert in_order(by_name[each.name]) == in_order(each), each.name
    assert AnyValue() in [pair.value for pair in by_name["odd 0"].attributes]


def in_order(one: Span) -> Span:
    """With attributes by key: their order says nothing."""
    ordered = Span.FromString(one.SerializeToString())
    del ordered.attributes[:]
    ordered.attributes.extend(sorted(one.attributes, key=lambda pair: pair.key))
    return ordered
