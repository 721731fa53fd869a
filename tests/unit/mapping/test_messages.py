"""One readable shape of messages, and what is too long to be read."""

import base64
import json
from typing import Any

import pytest

from collector.mapping.blobs import LEAST_TEXT
from collector.mapping.messages import Event, conversation, split_dialogue, with_system
from tests.unit.mapping.spans import held, row_of

IMAGE = base64.b64encode(bytes(range(256)) * 60).decode()
CHAT = {"gen_ai.operation.name": "chat"}


def chat(part: Any) -> Any:
    return row_of(
        {
            **CHAT,
            "gen_ai.input.messages": json.dumps(
                [{"role": "user", "parts": [{"type": "text", "content": "What is it?"}, part]}]
            ),
        }
    )


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"type": "blob", "mime_type": "image/png", "content": IMAGE}, "(image/png, 15360 bytes)"),
        ({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{IMAGE}"}}, "(image/jpeg, 15360 bytes)"),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": IMAGE}},
            "(image/gif, 15360 bytes)",
        ),
        ({"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}}, "(wav, 15360 bytes)"),
    ],
)
def test_blobs_are_named_and_kept_once(part: Any, name: str) -> None:
    row = chat(part)
    assert IMAGE not in row.input
    assert name in row.input
    assert "What is it?" in row.input
    assert IMAGE in held(row.attributes)["gen_ai.input.messages"]
    assert (row.input_key, row.wire) == (None, None)


def test_long_text_is_no_blob() -> None:
    for text in ("word " * 5000, "x" * 20_000, IMAGE):
        row = chat({"type": "text", "content": text})
        assert len(row.input) > LEAST_TEXT
        assert row.input_key == "gen_ai.input.messages"


def test_flattened_blobs_are_named_too() -> None:
    row = row_of(
        {
            "openinference.span.kind": "LLM",
            "llm.input_messages.0.message.contents.0.message_content.type": "image",
            "llm.input_messages.0.message.contents.0.message_content.image.image.url": f"data:image/png;base64,{IMAGE}",
        }
    )
    assert "(image/png, 15360 bytes)" in (row.input or "")


def test_system_instructions_need_messages() -> None:
    assert with_system("Be brief.", None) == []
    assert with_system("Be brief.", '[{"role": "user"}]') == [
        {"role": "system", "parts": ["Be brief."]},
        {"role": "user"},
    ]
    assert with_system(None, {"role": "user"}) == [{"role": "user"}]
    assert with_system([], "plain") == ["plain"]


def test_a_whole_call_wins_over_single_messages() -> None:
    details = {"gen_ai.input.messages": [{"role": "user", "parts": []}], "gen_ai.output.messages": "[]"}
    single = Event("gen_ai.user.message", {"content": "Rain?"})
    assert conversation([single, Event("gen_ai.client.inference.operation.details", details)]) == (
        details["gen_ai.input.messages"],
        [],
    )
    assert conversation([Event("app.event", {"content": "x"})]) == ([], [])


def test_bodies_in_every_form() -> None:
    said = [
        Event("gen_ai.user.message", {}, {"content": "a", "role": "customer"}),
        Event("gen_ai.user.message", {}, '{"content": "b"}'),
        Event("gen_ai.user.message", {}, "c"),
        Event("gen_ai.user.message", {"gen_ai.event.content": '{"content": "d"}'}),
    ]
    assert [message["content"] for message in conversation(said)[0]] == ["a", "b", "c", "d"]
    assert conversation(said)[0][0]["role"] == "customer"


def test_dialogues_that_name_their_events() -> None:
    events = [
        {"event.name": "gen_ai.user.message", "content": "Rain?", "gen_ai.message.index": 0},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "Yes."}},
        "odd",
    ]
    assert split_dialogue(events) == (
        [{"role": "user", "content": "Rain?"}],
        [{"role": "assistant", "content": "Yes."}],
    )
    assert split_dialogue("none") == ([], [])


def test_pydantic_ai_events_on_the_span() -> None:
    events = [
        {"event.name": "gen_ai.user.message", "content": "Rain?"},
        {"event.name": "gen_ai.choice", "message": {"content": "Yes."}},
    ]
    row = row_of({**CHAT, "events": json.dumps(events), "model_request_parameters": "{}"}, scope="pydantic-ai")
    assert (held(row.input), held(row.output)) == ([{"role": "user", "content": "Rain?"}], [{"content": "Yes."}])


def test_rebuilding_keeps_the_order_of_indices() -> None:
    row = row_of(
        {"openinference.span.kind": "LLM", **{f"llm.output_messages.{i}.message.content": str(i) for i in (10, 2, 1)}}
    )
    assert [message["content"] for message in held(row.output)] == ["1", "2", "10"]
