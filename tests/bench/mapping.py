"""Mapping beside its floors: microseconds of processor a span, requests of 512 spans, everything in turns.

Floors: protobuf's own parser alone; and that with every attribute read into a dict and written as JSON, which is the
least that any mapper in Python does. Each request counts with its best time, since whatever else runs here only adds.
"""

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping import span_rows
from collector.mapping.dialects.general import GENERAL
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.dialects.web import WEB
from collector.mapping.steps import map_traces
from collector.mapping.unread import UnreadTraces
from collector.mapping.values import Notes, read_attributes
from tests.bench.load import BATCH_SPANS, requests_of

TARGETS_US = {"web": 10.0, "genai": 12.0}
Work = Callable[[bytes], Any]


FEW_PLANS: dict[str, span_rows.Plans] = {}


def parse(body: bytes) -> Any:
    return ExportTraceServiceRequest.FromString(body)


def least(body: bytes) -> list[tuple[Any, ...]]:
    """Rows of a few fields: what is left of a mapper that knows no dialect and keeps no promise."""
    notes = Notes()
    return [
        (
            *(span.trace_id, span.span_id, span.parent_span_id, span.name, span.kind, span.start_time_unix_nano),
            *(span.end_time_unix_nano, span.status.code, len(span.events), len(span.links)),
            orjson.dumps(read_attributes(span.attributes, notes)).decode(),
        )
        for of_resource in parse(body).resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def mapping(body: bytes) -> Any:
    return map_traces(UnreadTraces.FromString(body), lambda _: 1)


def mapping_with_few_dialects(body: bytes) -> Any:
    plans, span_rows.PLANS = span_rows.PLANS, FEW_PLANS
    span_rows.DIALECTS = (WEB, GENERAL)
    try:
        return mapping(body)
    finally:
        span_rows.DIALECTS, span_rows.PLANS = DIALECTS, plans


def measure(works: Sequence[Work], bodies: Sequence[bytes], rounds: int) -> list[float]:
    """Microseconds a span of each work."""
    best = [[float("inf")] * len(bodies) for _ in works]
    for _ in range(rounds):
        gc.collect()
        for work, times in zip(works, best, strict=True):
            for i, body in enumerate(bodies):
                began = time.perf_counter()
                work(body)
                times[i] = min(times[i], time.perf_counter() - began)
    return [sum(times) / (len(bodies) * BATCH_SPANS) * 1e6 for times in best]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench mapping", description=__doc__)
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args(arguments)
    print(f"Mapping, best of {given.rounds}, {len(DIALECTS)} dialects")
    for kind, target in TARGETS_US.items():
        bodies = list(requests_of(kind, given.requests * BATCH_SPANS, seed=7))
        works = (parse, least, mapping, mapping_with_few_dialects)
        parsed, floor, ours, few = measure(works, bodies, given.rounds)
        print(
            f"  {kind:6} parse {parsed:5.2f}  floor {floor:5.2f}  ours {ours:5.2f} µs/span"
            f"  = {ours / floor:.2f} of the floor; with 2 dialects {few:5.2f}; target {target:.0f}"
        )
