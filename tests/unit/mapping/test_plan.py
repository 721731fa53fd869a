"""How dialects are found: by attribute names and scope, once for each shape of attributes."""

from collections.abc import Iterator

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.mapping.dialects.dialect import Composed, Dialect
from collector.mapping.dialects.plan import NAMES, make_plan
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.origins import read_origin
from collector.mapping.span_rows import Plans, SpanMapper
from collector.mapping.unread import UnreadSpan
from collector.model import KINDS, StepExtra
from tests.unit.mapping.spans import held, row_of, span

WEB = dict.fromkeys(("http.request.method", "url.path", "http.response.status_code", "server.address"), "x")


def kinds_of(dialect: Dialect) -> Iterator[str]:
    for _, known in dialect.kinds:
        if not callable(known):
            yield from known.values()
    yield from (kind for _, kind in (*dialect.evidence, *dialect.names))


def test_every_dialect_is_well_formed() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert len(set(names)) == len(names)
    fields = set(StepExtra.__struct_fields__)
    for dialect in DIALECTS:
        assert set(kinds_of(dialect)) <= KINDS
        assert set(dialect.labels) <= {*NAMES, *fields}
        assert {field for field, _ in dialect.extras} <= fields
        assert dialect.prefixes or dialect.scopes
        assert all(part.count(".") <= 1 for part in dialect.prefixes)


def test_a_plain_web_span_meets_one_dialect_only() -> None:
    plan = make_plan(DIALECTS, "opentelemetry.instrumentation.flask", WEB)
    assert (plan.dialect, plan.kind, plan.is_kind_known) == ("web", "http", True)
    assert (plan.labels, plan.tokens, plan.extras, plan.errors, plan.cost) == ((), (), (), (), ())


def test_spans_of_one_shape_share_a_plan() -> None:
    origin = read_origin(1, Resource(), InstrumentationScope(), ("", ""))
    plans: Plans = {}
    mapper = SpanMapper(origin, plans, {})
    for number in range(50):
        sent = span({"http.request.method": "GET", "a": number}, number=number + 1)
        mapper.row(UnreadSpan.FromString(sent.SerializeToString()))
    assert list(plans) == [("http.request.method", "a")]


def test_the_order_of_attributes_changes_nothing() -> None:
    attributes = {
        "openinference.span.kind": "TOOL",
        "gen_ai.operation.name": "chat",
        "session.id": "s",
        "input.value": "x",
    }
    first = row_of(attributes)
    second = row_of(dict(reversed(attributes.items())))
    assert first._replace(attributes="") == second._replace(attributes="")


def test_the_registrys_order_is_the_order_of_precedence() -> None:
    row = row_of(
        {"langfuse.observation.type": "agent", "openinference.span.kind": "LLM", "gen_ai.operation.name": "chat"}
    )
    assert (row.kind, held(row.extra)["dialect"]) == ("agent", "langfuse")


def test_numbers_of_two_dialects_are_not_mixed() -> None:
    row = row_of(
        {
            "openinference.span.kind": "LLM",
            "llm.token_count.prompt": 5,
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 8,
        }
    )
    assert (row.tokens_input, row.tokens_output) == (5, None)


def test_a_dialect_of_ones_own_is_a_table() -> None:
    mine = Dialect(
        name="mine",
        prefixes=frozenset(("mine",)),
        kinds=(("mine.type", {"ask": "llm"}),),
        labels={"model": ("mine.model",)},
        input=("mine.question",),
        output=(Composed(("mine.answer.",), lambda view: f'"{len(view.attributes)}"'),),
    )
    plan = make_plan(
        (mine, *DIALECTS), "", {"mine.type": "ask", "mine.model": "m", "mine.question": "?", "mine.answer.0": "!"}
    )
    assert (plan.dialect, plan.input, len(plan.output)) == ("mine", ("mine.question",), 1)
    assert plan.kinds[0][0] == "mine.type"
