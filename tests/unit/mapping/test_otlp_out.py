"""Rows as an OTLP/JSON request."""

import json
import math
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from collector.mapping.otlp_out import attributes_of, otlp_json, span_of
from collector.model import Batch
from tests.unit.mapping.spans import TRACE_ID, mapped, pairs_of, request_of, row_of, span


def written(*batches: Batch) -> Any:
    rows = [row for batch in batches for row in batch.steps]
    return json.loads(
        otlp_json(rows, {key[1]: origin.wire for batch in batches for key, origin in batch.origins.items()})
    )


def test_types_come_back() -> None:
    made = span(
        {"int": 2**62, "whole": 5.0, "nan": math.nan, "bytes": b"\x00", "none": None, "text": "ü", "map": {"a": [True]}}
    )
    made.links.add(trace_id=TRACE_ID, span_id=bytes(7) + b"\x02")
    [resource] = written(mapped(request_of([made], scope="lib")))["resourceSpans"]
    [scope] = resource["scopeSpans"]
    [got] = scope["spans"]
    assert (scope["scope"]["name"], resource["resource"]["attributes"][0]["key"]) == ("lib", "service.name")
    assert (got["traceId"], got["spanId"]) == (TRACE_ID.hex(), "0000000000000001")
    assert (got["links"][0]["traceId"], got["kind"]) == (TRACE_ID.hex(), 1)
    assert got["startTimeUnixNano"] == str(made.start_time_unix_nano)
    assert {pair["key"]: pair.get("value", {}) for pair in got["attributes"]} == {
        "int": {"intValue": str(2**62)},
        "whole": {"doubleValue": 5.0},
        "nan": {"doubleValue": "NaN"},
        "bytes": {"bytesValue": "AA=="},
        "none": {},
        "text": {"stringValue": "ü"},
        "map": {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"boolValue": True}]}}}]}},
    }


def test_spans_stand_under_their_resource_and_scope() -> None:
    first = mapped(request_of([span(), span(number=2)], scope="a"))
    second = mapped(request_of([span(number=3)], scope="b"))
    other = mapped(request_of([span(number=4)], scope="a", resource={"service.name": "other"}))
    found = written(first, second, other)["resourceSpans"]
    counts = [[len(scope["spans"]) for scope in resource["scopeSpans"]] for resource in found]
    assert counts == [[2, 1], [1]]


def test_a_step_whose_origin_is_gone_is_written_all_the_same() -> None:
    row = row_of({"a": 1})
    [resource] = json.loads(otlp_json([row], {}))["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"][0]["spanId"] == "0000000000000001"


def test_schema_urls_and_dropped_counts_come_back() -> None:
    request = request_of([span(dropped_events_count=2)], scope="lib")
    request.resource_spans[0].schema_url = "https://example.com/r"
    request.resource_spans[0].scope_spans[0].schema_url = "https://example.com/s"
    request.resource_spans[0].scope_spans[0].scope.attributes.extend(pairs_of({"short": True}))
    [resource] = written(mapped(request))["resourceSpans"]
    assert (resource["schemaUrl"], resource["scopeSpans"][0]["schemaUrl"]) == (
        "https://example.com/r",
        "https://example.com/s",
    )
    assert resource["scopeSpans"][0]["spans"][0]["droppedEventsCount"] == 2
    assert resource["scopeSpans"][0]["scope"]["attributes"][0]["value"] == {"boolValue": True}


def test_the_answer_is_protobuf_json_but_for_its_ids() -> None:
    [resource] = written(mapped(request_of([span({"a": 1}, events=[("e", {"b": 2.5})], status=(2, "no"))])))[
        "resourceSpans"
    ]
    assert json_format.ParseDict(resource, ResourceSpans()).scope_spans[0].spans[0].status.message == "no"


def test_attributes_of_a_row_have_what_was_moved() -> None:
    row = row_of({"gen_ai.tool.call.arguments": '{"a": 1}', "gen_ai.tool.call.result": "rain", "b": True})
    assert attributes_of(row) == {
        "b": True,
        "gen_ai.tool.call.arguments": '{"a": 1}',
        "gen_ai.tool.call.result": "rain",
    }


def test_dropped_counts_of_events_and_links_come_back() -> None:
    made = span()
    made.events.add(name="e", dropped_attributes_count=7)
    made.links.add(trace_id=TRACE_ID, span_id=bytes(7) + b"\x02", dropped_attributes_count=9)
    [resource] = written(mapped(request_of([made])))["resourceSpans"]
    [got] = resource["scopeSpans"][0]["spans"]
    counts = [part[0]["droppedAttributesCount"] for part in (got["events"], got["links"])]
    assert counts == [7, 9]


def test_a_key_without_a_value_comes_back_without_one() -> None:
    alone = KeyValue(key="alone")
    on_span, on_event, in_map = span({"a": 1}), span(number=2), span(number=3)
    on_span.attributes.append(alone)
    on_event.events.add(name="e").attributes.append(alone)
    in_map.attributes.add(key="map").value.kvlist_value.values.append(alone)
    for made in (on_span, on_event, in_map):
        [row] = mapped(request_of([made])).steps
        assert span_of(row) == made
