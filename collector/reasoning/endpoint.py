"""One OpenAI-compatible endpoint: a call with structured output as far as that is known there, and its errors."""

import asyncio
import email.utils
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.reasoning.prompt import schema
from collector.reasoning.reasoner import ProviderClosed, ProviderFailed, Refused

CLOSED_LONGEST_S = 3600.0
QUOTA_CLOSED_S = 300.0
AUTH_CLOSED_S = 60.0
LIMITED_CLOSED_S = 15.0
BUSY_CLOSED_S = 5.0
UNREACHED_CLOSED_S = 10.0

MODES = ("json_schema", "json_object", "text")
"""From the best to what every endpoint can."""


class Reply(msgspec.Struct, frozen=True):
    content: str
    model: str
    tokens_input: int
    tokens_output: int
    tokens_cached: int = 0


class EndpointOptions(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    api_key: str | None = None
    base_url: str | None = None
    timeout_s: float = 60.0


class Endpoint:
    """Asks one model; the `openai` package is imported when the first question is asked."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._client: Any = None
        self._mode = 0

    @property
    def name(self) -> str:
        """What the provider is known by: its address and the model, without the key."""
        return f"{self._options.base_url or 'openai'} {self._options.model}"

    @property
    def model(self) -> str:
        return self._options.model

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """One call; raises ProviderClosed, ProviderFailed or Refused."""
        while True:
            mode = self._mode
            try:
                return _reply(await self._call(messages, mode), self._options.model)
            except _FormUnknown:
                self._mode = max(self._mode, mode + 1)

    async def _call(self, messages: Sequence[Mapping[str, str]], mode: int) -> Any:
        import openai

        if self._client is None:
            options = self._options
            self._client = openai.AsyncOpenAI(
                api_key=options.api_key or "none",
                base_url=options.base_url,
                timeout=options.timeout_s,
                max_retries=0,
            )
        form = _form(MODES[mode])
        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await self._client.chat.completions.create(
                    model=self._options.model, messages=list(messages), **form
                )
        except openai.APIStatusError as error:
            raise _meaning(error.status_code, error.response.headers, _code(error), mode) from error
        except (openai.APITimeoutError, TimeoutError) as error:
            raise ProviderFailed(f"the model did not answer within {self._options.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise ProviderClosed("the model's endpoint can't be reached", UNREACHED_CLOSED_S) from error
        except (openai.APIError, ValueError) as error:
            raise ProviderFailed("the model's endpoint answered with what is no answer") from error


class _FormUnknown(Exception):
    """The endpoint does not know this way to ask for JSON."""


def _form(mode: str) -> dict[str, Any]:
    if mode == "json_schema":
        described = {"name": "explanations", "strict": True, "schema": schema()}
        return {"response_format": {"type": "json_schema", "json_schema": described}}
    return {"response_format": {"type": "json_object"}} if mode == "json_object" else {}


def _code(error: Any) -> str:
    """The provider's own word for the error: a word, never a text that may quote what was sent."""
    body = error.body if isinstance(error.body, dict) else {}
    word = str(body.get("code") or body.get("type") or "")
    about = f"{body.get('param') or ''} {body.get('message') or ''}"
    return word if "response_format" not in about else "response_format"


def _meaning(status: int, headers: Mapping[str, str], code: str, mode: int) -> Exception:
    told = f" ({code[:60]})" if code else ""
    match status:
        case 401 | 403:
            return ProviderClosed(f"the model's endpoint refuses the key: {status}{told}", AUTH_CLOSED_S)
        case 404:
            return ProviderClosed(f"the model or its address is not known there: 404{told}", AUTH_CLOSED_S)
        case 429:
            default = QUOTA_CLOSED_S if code == "insufficient_quota" else LIMITED_CLOSED_S
            return ProviderClosed(f"the model's endpoint limits us: 429{told}", retry_after_s(headers, default))
        case 503 | 529:
            return ProviderClosed(
                f"the model's endpoint is busy: {status}{told}", retry_after_s(headers, BUSY_CLOSED_S)
            )
        case 400 | 415 | 422 if mode + 1 < len(MODES) and _may_be_form(code):
            return _FormUnknown()
        case _ if 400 <= status < 500 and status not in (408, 409, 425):
            return Refused(f"the model's endpoint refuses the question: {status}{told}")
        case _:
            return ProviderFailed(f"the model's endpoint failed: {status}{told}")


def _may_be_form(code: str) -> bool:
    """Some endpoints name no reason: then the form is tried next."""
    return code in (
        "",
        "response_format",
        "invalid_request_error",
        "unsupported_parameter",
        "invalid_parameter",
        "400",
    ) or ("format" in code or "schema" in code)


def retry_after_s(headers: Mapping[str, str], default: float, now: float | None = None) -> float:
    """The delay that an answer asks for, in seconds or as a date, capped; `default` where it asks for none."""
    told = headers.get("retry-after-ms")
    if told and told.strip().isdigit():
        return min(int(told) / 1000, CLOSED_LONGEST_S)
    told = (headers.get("retry-after") or "").strip()
    try:
        return min(max(float(told), 0.0), CLOSED_LONGEST_S)
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(told).timestamp()
    except ValueError:
        return default
    since = email.utils.parsedate_to_datetime(date).timestamp() if (date := headers.get("date")) else None
    return min(max(until - (since or now or time.time()), 0.0), CLOSED_LONGEST_S)


def _reply(answer: Any, model: str) -> Reply:
    choices = getattr(answer, "choices", None)
    if not choices or choices[0].message is None:
        raise ProviderFailed("the model's endpoint answered with what is no answer")
    choice = choices[0]
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        raise Refused("the model refuses to explain this")
    usage = answer.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Reply(
        choice.message.content or "",
        answer.model or model,
        getattr(usage, "prompt_tokens", None) or 0,
        getattr(usage, "completion_tokens", None) or 0,
        getattr(details, "cached_tokens", None) or 0,
    )
