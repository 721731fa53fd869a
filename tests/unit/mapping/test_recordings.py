"""Every field of every recording, and that neither order nor repetition of requests changes a row."""

from collections.abc import Iterable

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping.assemble import assemble
from collector.mapping.logs import map_logs
from collector.mapping.otlp_out import span_of
from collector.mapping.steps import map_traces
from collector.model import RecordRow, StepRow
from tests.unit.mapping.judge import NAMES, Request, expected, requests, wrong
from tests.unit.mapping.shapes import record_of, step_of
from tests.unit.mapping.spans import normal


def rows_of(sent: Iterable[Request]) -> tuple[dict[tuple[bytes, bytes], StepRow], dict[bytes, RecordRow]]:
    """The rows that the store ends with: the first of equal keys stays."""
    steps: dict[tuple[bytes, bytes], StepRow] = {}
    records: dict[bytes, RecordRow] = {}
    for request in sent:
        is_trace = isinstance(request, ExportTraceServiceRequest)
        batch = map_traces(request, lambda _: 1) if is_trace else map_logs(request, lambda _: 1)
        assert batch.refusals == []
        for step in batch.steps:
            steps.setdefault((step.trace_id, step.span_id), step)
        for record in batch.records:
            records.setdefault(record.record_id, record)
    return steps, records


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_reads_as_a_person_reads_it(name: str) -> None:
    steps, records = rows_of(requests(name))
    for trace_id, trace in expected(name).items():
        own = [step_of(step) for step in steps.values() if step.trace_id == trace_id]
        told = [record_of(record) for record in records.values() if record.trace_id == trace_id]
        assert list(wrong(trace, *assemble(own, told))) == []


@pytest.mark.parametrize("name", NAMES)
def test_order_and_repetition_change_no_row(name: str) -> None:
    sent = requests(name)
    assert rows_of([*reversed(sent), *sent]) == rows_of(sent)


@pytest.mark.parametrize("name", NAMES)
def test_every_span_comes_back_from_its_columns_as_it_was(name: str) -> None:
    spans = {
        (span.trace_id, span.span_id): span
        for request in requests(name)
        if isinstance(request, ExportTraceServiceRequest)
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    }
    rows, _ = rows_of(requests(name))
    assert rows.keys() == spans.keys()
    for key, row in rows.items():
        assert row.wire is None
        assert normal(span_of(row)) == normal(spans[key])
