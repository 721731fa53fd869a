"""An execution assembled from its parts: the same facts whatever the order."""

import msgspec
import pytest

from collector.mapping.assemble import LOGS_NOTE, assemble
from collector.model import StepError
from tests.unit.mapping.shapes import llm, record, span_id, step


def test_the_earliest_step_without_a_parent_names_the_execution() -> None:
    steps = [step(1, 9, at=0), step(3, None, "agent", at=5, name="late root"), step(4, None, at=7)]

    found, facts = assemble(steps, [])

    assert (facts.name, facts.kind, facts.root_span_id) == ("late root", "agent", span_id(3))
    assert not facts.root_missing
    assert [each.span_id for each in found] == [span_id(1), span_id(3), span_id(4)]
    assert any("2 spans have no parent" in warning for warning in facts.warnings)
    assert any("1 parent span did not come" in warning for warning in facts.warnings)


def test_without_a_root_the_earliest_orphan_stands_in_and_not_an_earlier_child() -> None:
    steps = [step(2, 1, at=3, status="error", name="orphan"), step(1, 2, at=0), step(5, 8, at=9)]
    steps[1] = msgspec.structs.replace(steps[1], span_id=span_id(6), parent_span_id=span_id(2))

    _, facts = assemble(steps, [])

    assert (facts.name, facts.root_missing, facts.status) == ("orphan", True, "error")
    assert any("2 parent spans did not come" in warning for warning in facts.warnings)


def test_equal_starts_are_told_apart_by_id() -> None:
    assert assemble([step(2, at=0), step(1, at=0)], [])[1].root_span_id == span_id(1)


@pytest.mark.parametrize(("status", "expected"), [("unset", "ok"), ("ok", "ok"), ("error", "error")])
def test_the_status_is_the_roots_alone(status: str, expected: str) -> None:
    steps = [step(1, status=status), step(2, 1, status="error", error=StepError("E", "m"))]
    assert assemble(steps, [])[1].status == expected


def test_a_pending_span_is_folded_into_the_real_one() -> None:
    pending = step(8, 2, at=2, ms=0, name="work", extra={"pending_parent_id": span_id(1).hex()})
    real = step(2, 1, at=2, name="work")

    found, facts = assemble([pending, step(1), real], [])
    assert [each.span_id for each in found] == [span_id(1), span_id(2)]
    assert found[1].duration_ns == real.duration_ns
    assert facts.warnings == []


def test_a_pending_span_stands_for_the_real_one_until_it_comes() -> None:
    pending = [
        step(7, 1, at=0, ms=0, name="root", extra={"pending_parent_id": "0" * 16}),
        step(8, 2, at=2, ms=0, name="work", extra={"pending_parent_id": span_id(1).hex()}),
    ]
    found, facts = assemble([*pending, step(3, 2)], [])

    assert [(each.span_id, each.parent_span_id) for each in found] == [
        (span_id(1), None),
        (span_id(2), span_id(1)),
        (span_id(3), span_id(2)),
    ]
    assert found[0].duration_ns is None
    assert found[0].warnings
    assert (facts.name, facts.root_missing) == ("root", False)


def test_a_session_is_the_roots_else_the_one_that_all_topmost_bearers_agree_on() -> None:
    on_root = [step(1, session_id="root"), step(2, 1, session_id="inner")]
    below = [step(1), step(2, 1, session_id="a"), step(3, 2, session_id="inner"), step(4, 1, session_id="a")]
    several = [step(1), step(2, 1, session_id="a"), step(3, 1, session_id="b")]

    assert assemble(on_root, [])[1].session_id == "root"
    assert assemble(below, [])[1].session_id == "a"
    assert assemble(several, [])[1].session_id is None


def test_steps_without_a_session_have_the_nearest_ancestors_else_the_executions() -> None:
    found, _ = assemble([step(1), step(2, 1, session_id="a", user_id="u"), step(3, 2), step(4, 1)], [])
    assert [each.session_id for each in found] == ["a", "a", "a", "a"]
    several, _ = assemble([step(1), step(2, 1, session_id="a"), step(3, 2), step(4, 1, session_id="b")], [])
    assert [each.session_id for each in several] == [None, "a", "a", "b"]


def test_tags_metadata_environment_and_own_id_come_from_wherever_they_stand() -> None:
    steps = [
        step(1),
        step(2, 1, extra={"tags": ["b", "a"], "environment": "test", "metadata": msgspec.Raw(b'{"x": 1}')}),
        step(3, 2, extra={"tags": ["a", "c"], "environment": "prod", "execution_id": "order-7"}),
    ]
    _, facts = assemble(steps, [])
    assert (facts.tags, facts.environment, facts.metadata) == (["b", "a", "c"], "test", '{"x": 1}')
    assert facts.execution_id == "order-7"


def test_the_outcome_is_said_else_the_roots_output_else_the_last_word_of_the_highest_speaker() -> None:
    said = step(1, output='"page"', extra={"outcome": msgspec.Raw(b'{"film": "Up"}')})
    assert assemble([said], [])[1].final_outcome == '{"film": "Up"}'
    assert assemble([step(1, output='"page"'), llm(2, 1, output='"inner"')], [])[1].final_outcome == '"page"'
    steps = [step(1, ms=90), llm(2, 1, output='"first"'), llm(3, 1, output='"last"'), llm(4, 3, output='"deep"', ms=80)]
    assert assemble(steps, [])[1].final_outcome == '"last"'
    assert assemble([step(1, kind="tool"), step(2, 1, "http", output="200")], [])[1].final_outcome is None


def test_a_failed_root_without_output_has_no_outcome() -> None:
    assert assemble([step(1, status="error"), llm(2, 1, output='"half a thought"')], [])[1].final_outcome is None


def test_plumbing_is_an_execution_of_nothing_else() -> None:
    ping = step(1, kind="db", extra={"plumbing": True})
    assert assemble([ping, step(2, 1, "http", extra={"plumbing": True})], [])[1].plumbing
    assert not assemble([ping, step(2, 1)], [])[1].plumbing


def test_a_lone_query_that_went_well_is_plumbing() -> None:
    for poll, is_plumbing in ((step(1, kind="db"), True), (step(1, kind="db", status="error"), False)):
        assert assemble([poll], [])[1].plumbing is is_plumbing
    assert not assemble([step(2, 1, kind="db")], [])[1].plumbing


def test_gaps_are_stated_and_nothing_is_altered() -> None:
    steps = [
        step(1, at=50),
        step(2, 1, at=20, warnings=["3 attributes were dropped by the sender"]),
        step(3, 1, ms=None),
    ]
    found, facts = assemble(steps, [])
    assert [each.start_ns for each in found] == sorted(each.start_ns for each in steps)
    assert facts.root_span_id == span_id(1)
    text = "\n".join(facts.warnings)
    assert "2 steps before the start of the parent, by up to 47.0 ms" in text
    assert "1 step lost data" in text
    assert "1 step without a valid end" in text


def test_a_span_that_is_its_own_ancestor_is_cut_loose() -> None:
    steps = [step(1, 3, at=4), step(2, 1, at=2), step(3, 2, at=3), step(4, 1, at=1), step(5, 5, at=9)]
    found, facts = assemble(steps, [])
    assert len(found) == 5
    assert (facts.root_span_id, facts.root_missing) == (span_id(2), True)
    assert any("2 loops of parents" in warning for warning in facts.warnings)


def test_a_span_told_of_twice_counts_as_the_one_that_ended() -> None:
    first, whole = step(1, ms=None, output=None), step(1, output='"done"')
    assert assemble([first, whole], [])[0] == assemble([whole, first], [])[0] == [whole]


def test_log_records_alone_make_an_execution_without_steps() -> None:
    found, facts = assemble([], [record("gen_ai.user.message", {"content": "hi"})])
    assert found == []
    assert facts.root_missing
    assert facts.warnings == [LOGS_NOTE, "1 log record of steps that did not come"]


def test_what_was_handed_in_stays_as_it_was() -> None:
    steps = [step(1, session_id="s"), llm(2, 1)]
    before = msgspec.json.encode(steps)
    assemble(steps, [record("gen_ai.user.message", {"content": "hi"}, span=2)])
    assert msgspec.json.encode(steps) == before
