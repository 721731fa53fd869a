"""Metrics by the names of the contract; logs that hold no content and are no flood."""

import errno
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from collector.errors import Unavailable
from collector.telemetry import ErrorLog, Metrics, Telemetry, describe, start_logging

CONTRACT = (
    *("xray_spans_accepted_total", "xray_spans_duplicate_total", "xray_spans_rejected_total", "xray_export_seconds"),
    *("xray_commit_seconds", "xray_inflight_bytes", "xray_spool_bytes", "xray_reasoning_jobs"),
    *("xray_reasoning_oldest_pending_seconds", "xray_reasoning_seconds", "xray_reasoning_tokens_total"),
    *("xray_reasoning_cost_usd_total", "xray_lease_lost_total", "xray_exporter_lag_seconds"),
)
LABELS = {
    "xray_spans_rejected_total": "reason",
    "xray_reasoning_jobs": "status",
    "xray_reasoning_tokens_total": "direction",
    "xray_exporter_lag_seconds": "exporter",
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go; logging is as it was afterwards."""
    root, target = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    yield target
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()


@pytest.mark.parametrize("name", CONTRACT)
def test_every_metric_of_the_contract(name: str) -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    family = families[name.removesuffix("_total")]
    assert family.documentation
    exposed = Metrics().text().decode()
    assert f"# TYPE {name} " in exposed


@pytest.mark.parametrize(("name", "label"), LABELS.items())
def test_labels_of_the_contract(name: str, label: str) -> None:
    metrics = Metrics()
    by_name = {
        "xray_spans_rejected_total": metrics.spans_rejected,
        "xray_reasoning_jobs": metrics.reasoning_jobs,
        "xray_reasoning_tokens_total": metrics.reasoning_tokens,
        "xray_exporter_lag_seconds": metrics.exporter_lag,
    }
    by_name[name].labels(**{label: "x"})
    assert f'{name}{{{label}="x"}} 0.0' in metrics.text().decode()


def test_two_registries_know_nothing_of_each_other() -> None:
    one, two = Metrics(), Metrics()
    one.spans_accepted.inc(5)
    assert two.registry.get_sample_value("xray_spans_accepted_total") == 0


def test_one_line_a_second_for_each_event(stream: io.StringIO) -> None:
    start_logging("info", "json", stream)
    metrics, clock = Metrics(), Clock()
    errors = ErrorLog(metrics, clock=clock)
    for _ in range(100):
        errors.report("commit_failed", ValueError("x"))
    errors.report("other", ValueError("x"))
    clock.now = 1.5
    errors.report("commit_failed", ValueError("x"), trace="ab")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["commit_failed", "other", "commit_failed"]
    assert lines[2]["left_out"] == 99
    assert lines[2]["trace"] == "ab"
    assert metrics.registry.get_sample_value("xray_errors_total", {"event": "commit_failed"}) == 101


def test_a_lost_database_is_one_line_a_second_wherever_it_is_met(stream: io.StringIO) -> None:
    start_logging("info", "json", stream)
    metrics, clock = Metrics(), Clock()
    errors = ErrorLog(metrics, clock=clock)
    for event in ("writer_connect", "listen", "sweep"):
        errors.report(event, Unavailable("away"))
    assert len(stream.getvalue().splitlines()) == 1
    assert metrics.registry.get_sample_value("xray_errors_total", {"event": "sweep"}) == 1


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("stream")
def test_a_log_that_can_not_be_written_ends_nothing() -> None:
    start_logging("info", "text", FullDisk())
    telemetry = Telemetry()
    telemetry.errors.report("spool_append", ValueError("x"))
    logging.getLogger("some.library").error("it broke")
    assert telemetry.metrics.registry.get_sample_value("xray_errors_total", {"event": "spool_append"}) == 1


class DatabaseError(Exception):
    sqlstate = "22P05"


def test_the_text_of_foreign_errors_is_left_out(stream: io.StringIO) -> None:
    start_logging("info", "text", stream)
    telemetry = Telemetry()
    try:
        try:
            raise DatabaseError("DETAIL: row (secret prompt)")
        except DatabaseError as error:
            raise Unavailable("Postgres is away.") from error
    except Unavailable as error:
        telemetry.errors.report("commit_failed", error)
    line = stream.getvalue()
    assert "secret" not in line
    for part in ("Unavailable", "Postgres is away.", "22P05", "DatabaseError"):
        assert part in line


def test_an_error_names_its_place_in_our_code() -> None:
    from collector.receiver.json_text import parse_json

    with pytest.raises(AttributeError) as caught:
        parse_json(5)
    assert describe(caught.value)["at"].startswith("collector.receiver.json_text:")


def test_libraries_log_in_the_same_form_without_tracebacks(stream: io.StringIO) -> None:
    start_logging("info", "json", stream)
    library = logging.getLogger("some.library")
    library.info("a detail")
    try:
        raise ValueError("secret")
    except ValueError:
        library.exception("it broke")
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["event"] == "it broke [ValueError]"
    assert line["level"] == "error"
