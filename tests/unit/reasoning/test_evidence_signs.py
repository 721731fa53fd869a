"""Signs of faults that no status tells."""

import time
from typing import Any

import pytest

from collector.reasoning import signs

ERRORS: list[Any] = [
    "Error: connection refused",
    "ConnectionError('nope')",
    "Traceback (most recent call last):\n  File 'a.py'",
    "HTTP 503 Service Unavailable",
    "Failed to reach the server",
    {"error": "no such table"},
    {"errors": [{"message": "bad field"}], "data": None},
    {"success": False, "reason": "locked"},
    {"status": "failed", "message": "quota"},
    {"status_code": 502, "body": ""},
    {"content": [{"type": "text", "text": "order 7 is unknown"}], "isError": True},
    {"content": "boom", "type": "tool", "status": "error"},
    '{"error": {"code": "LIMIT", "message": "slow down"}}',
]
FINE: list[Any] = [
    "0 errors, 2 warnings",
    "No failures found in 31 checks.",
    "The error rate is 0.1 %.",
    {"checked": 14, "errors": [], "warnings": 1},
    {"error": None, "ok": True},
    {"status": "ok", "code": 200},
    {"status": "shipped"},
    [{"id": 1}],
    42,
    None,
    "450 Euro voucher",
    {"error": "none"},
]


@pytest.mark.parametrize("value", ERRORS)
def test_an_error_in_a_result_is_seen(value: Any) -> None:
    assert signs.error_in(value)


@pytest.mark.parametrize("value", FINE)
def test_a_fine_result_is_no_error(value: Any) -> None:
    assert signs.error_in(value) is None


def test_the_words_of_an_error_are_told() -> None:
    assert signs.error_in({"error": {"code": "LIMIT", "message": "slow down"}}) == "slow down"
    assert signs.error_in(ERRORS[10]) == "order 7 is unknown"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        [],
        {},
        "[]",
        {"documents": []},
        {"matches": [], "took_ms": 12},
        {"content": "[]", "type": "tool"},
        [None, {}],
    ],
)
def test_emptiness_is_seen(value: Any) -> None:
    assert signs.is_empty(value)


@pytest.mark.parametrize(
    "value",
    [0, False, "none of it", [0], {"errors": []}, {"total": 59.9, "notes": [], "invoice": 8}, {"a": [], "b": [1]}],
)
def test_little_is_not_nothing(value: Any) -> None:
    assert not signs.is_empty(value)


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("I'm sorry, but I can't help with that request.", "stop"),
        ("I cannot assist with this.", None),
        ("We are unable to provide that.", None),
        ("", "content_filter"),
        ("Sure!", "refusal"),
    ],
)
def test_a_refusal_is_seen(text: str, finish: str | None) -> None:
    assert signs.is_refusal(text, finish)


@pytest.mark.parametrize(
    "text", ["I can help with that.", "You can't return it after 30 days.", "Your order is on its way."]
)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not signs.is_refusal(text, "stop")


@pytest.mark.parametrize(
    "text",
    [
        "I couldn't find anything about that.",
        "No relevant documents were found.",
        "Something went wrong, try again later.",
    ],
)
def test_a_lack_is_seen(text: str) -> None:
    assert signs.tells_lack(text)


def test_an_answer_lacks_nothing() -> None:
    assert not signs.tells_lack("Tomorrow will be rainy at 17 °C, so take an umbrella.")


@pytest.mark.parametrize(
    "text",
    [
        "Unknown tool: fly",
        "ValidationError: 1 validation error for f\ncity\n  Field required",
        "f() got an unexpected keyword argument 'x'",
    ],
)
def test_misuse_is_seen(text: str) -> None:
    assert signs.is_misuse(text)


def test_a_broken_service_is_no_misuse() -> None:
    assert not signs.is_misuse("ConnectionError: refused")
    assert not signs.is_misuse(None)


@pytest.mark.parametrize(
    ("text", "tokens", "cut"),
    [("It goes on and", 256, True), ("It ends.", 256, False), ("It goes on and", 255, False), ("", 256, False)],
)
def test_a_cut_is_guessed_from_the_end_and_the_count(text: str, tokens: int, cut: bool) -> None:
    assert signs.looks_cut(text, tokens) is cut


SEARCHED = (signs.MISUSE, signs.REFUSAL, signs.LACK, signs.LIMIT, signs.SHAPE, signs.TIMED_OUT, signs.CANCELLED)
TRAPS = ("max" * 400, "a." * 600, "tool " * 240, "I can't " * 150, "no a " * 240, "Error" * 240, " " * 1200)


@pytest.mark.parametrize("text", TRAPS)
def test_no_text_makes_a_pattern_slow(text: str) -> None:
    began = time.process_time()
    for _ in range(10):
        signs.ERROR_HEAD.match(text)
        for pattern in (*SEARCHED, signs.PARSING, signs.CLEANUP):
            pattern.search(text)
    assert time.process_time() - began < 0.5
