"""What a provider's status means for the job and for everybody else's."""

import pytest

from collector.reasoning.endpoint import _FormUnknown, _meaning, retry_after_s
from collector.reasoning.reasoner import ProviderClosed, ProviderFailed, Refused


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "99999"}, 3600),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0),
        ({"retry-after": "soon"}, 11),
        ({}, 11),
    ],
)
def test_both_forms_of_retry_after(headers: dict[str, str], wanted: float) -> None:
    assert retry_after_s(headers, 11) == wanted


def test_a_date_without_a_date_of_the_answer_counts_from_now() -> None:
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 11, now=1_792_567_700.0) == 10


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (401, "", ProviderClosed),
        (403, "", ProviderClosed),
        (404, "model_not_found", ProviderClosed),
        (429, "", ProviderClosed),
        (503, "", ProviderClosed),
        (529, "overloaded", ProviderClosed),
        (408, "", ProviderFailed),
        (500, "", ProviderFailed),
        (504, "", ProviderFailed),
        (400, "context_length_exceeded", Refused),
        (413, "", Refused),
        (400, "response_format", _FormUnknown),
        (400, "", _FormUnknown),
    ],
)
def test_what_a_status_means(status: int, code: str, wanted: type[Exception]) -> None:
    assert type(_meaning(status, {}, code, 0)) is wanted


def test_without_a_simpler_form_the_question_is_refused() -> None:
    assert type(_meaning(400, {}, "response_format", 2)) is Refused
