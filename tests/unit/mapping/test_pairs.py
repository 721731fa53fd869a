"""Attributes from their bytes: the same as protobuf's parser reads, however they are written."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from collector.mapping import pairs
from collector.mapping.pairs import Pairs, Unreadable
from collector.mapping.values import Notes, any_value, read_attributes

TEXTS = st.text(max_size=20) | st.text(min_size=100, max_size=300) | st.integers(120, 20_000).map("x".__mul__)
VALUES = st.one_of(
    TEXTS.map(lambda value: AnyValue(string_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21]).map(lambda value: AnyValue(int_value=value)),
    st.floats().map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.binary(max_size=20).map(lambda value: AnyValue(bytes_value=value)),
    st.just(AnyValue()),
    st.lists(TEXTS, max_size=3).map(
        lambda texts: AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text) for text in texts]))
    ),
)
KEY_VALUES = st.builds(lambda key, value: KeyValue(key=key, value=value).SerializeToString(), TEXTS, VALUES)


def read(known: Pairs, *raws: bytes) -> tuple[str, list[str], bool]:
    notes = Notes()
    return repr(known.read(raws, notes)), notes.warnings, notes.exact


def expected(*raws: bytes) -> tuple[str, list[str], bool]:
    notes = Notes()
    return repr(read_attributes([KeyValue.FromString(raw) for raw in raws], notes)), notes.warnings, notes.exact


@given(st.lists(KEY_VALUES, max_size=5))
@settings(max_examples=300)
def test_what_a_parser_reads(raws: list[bytes]) -> None:
    known = Pairs()
    assert read(known, *raws) == expected(*raws)
    assert read(known, *raws) == expected(*raws)


@given(KEY_VALUES, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=3), st.binary(max_size=4))
@settings(max_examples=1000)
def test_changed_bytes_are_read_as_a_parser_reads_them(raw: bytes, changes: list[tuple[int, int]], end: bytes) -> None:
    body = bytearray(raw + end)
    for at, byte in changes:
        body[at % len(body)] = byte
    try:
        right = expected(bytes(body))
    except DecodeError:
        with pytest.raises(Unreadable):
            Pairs().read([bytes(body)], Notes())
    else:
        assert read(Pairs(), bytes(body)) == right


def pair(key: str, value: Any) -> bytes:
    kind = "string_value" if isinstance(value, str) else "int_value"
    return bytes(KeyValue(key=key, value=AnyValue(**{kind: value})).SerializeToString())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST_PAIRS", 200)
    known = Pairs()
    for number in range(1000):
        for key in ("a", "b", f"key.{number}"):
            assert known.read([pair(key, number)], Notes()) == {key: number}
    assert len(known._known) <= 200
    assert any_value(AnyValue(int_value=7), Notes()) == known.read([pair("a", 7)], Notes())["a"]


def test_ids_are_not_remembered_for_ever() -> None:
    known = Pairs()
    known.read([pair("request.id", f"r{number}") for number in range(1000)], Notes())
    assert len(known._known) == pairs.MOST_VALUES


def test_long_texts_are_not_remembered() -> None:
    known = Pairs()
    known.read([pair("input", "x" * 200), pair("big", "y" * 70_000)], Notes())
    assert not known._known
