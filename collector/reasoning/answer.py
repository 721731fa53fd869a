"""A model's answer, read as far as it can be: pure. What is missing or malformed is asked for again, alone."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import orjson

from collector.reasoning.context import EXECUTION

MOST_CHARS = 2_000
MOST_EVIDENCE = 5
_FENCE = re.compile(r"\A\s*```(?:json)?\s*|\s*```\s*\Z")
_CITED = re.compile(r"\[(s\d+(?:\s*,\s*s\d+)*)\]")


class Said(msgspec.Struct, frozen=True):
    """What was said of one step or of the execution, with aliases as they came."""

    text: str
    cause_alias: str | None = None
    confidence: float = 0.0
    evidence: list[str] = []


def read(content: str, asked: Collection[str]) -> dict[str, Said]:
    """What the answer says of each alias that was asked about; others are left out."""
    value = _object_in(content)
    found: dict[str, Said] = {}
    for alias, text in _steps_in(value.get("steps")):
        if alias in asked and alias != EXECUTION and text:
            found.setdefault(alias, Said(text))
    said = _execution_in(value.get("execution"))
    if said is not None and EXECUTION in asked:
        found[EXECUTION] = said
    return found


def named(text: str, names: Mapping[str, str]) -> str:
    """The text with citations like [s3] turned into names that a reader knows."""

    def name(match: re.Match[str]) -> str:
        aliases = [alias.strip() for alias in match[1].split(",")]
        return ", ".join(f"“{names[alias]}”" for alias in aliases if alias in names) or match[0]

    return _CITED.sub(name, text)


def cited(text: str) -> list[str]:
    """The aliases that a text cites, each once."""
    found = (alias.strip() for match in _CITED.finditer(text) for alias in match[1].split(","))
    return list(dict.fromkeys(found))


def _object_in(content: str) -> dict[str, Any]:
    """The JSON object in a text that may hold fences or words around it; empty where there is none."""
    text = _FENCE.sub("", content)
    begin, end = text.find("{"), text.rfind("}")
    for candidate in (text, text[begin : end + 1] if 0 <= begin < end else ""):
        try:
            value = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            return value
    return {}


def _steps_in(value: Any) -> list[tuple[str, str]]:
    """Pairs of alias and text, from the form that was asked for or from an object by alias."""
    if isinstance(value, dict):
        value = [{"id": alias, "text": text} for alias, text in value.items()]
    if not isinstance(value, list):
        return []
    items = (item for item in value if isinstance(item, dict))
    return [(str(item.get("id", "")).strip("[] *"), _text(item.get("text"))) for item in items]


def _execution_in(value: Any) -> Said | None:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict) or not (text := _text(value.get("text"))):
        return None
    cause = value.get("root_cause")
    if not isinstance(cause, dict):
        return Said(text)
    confidence, evidence = cause.get("confidence"), cause.get("evidence")
    return Said(
        text,
        str(cause.get("step", "")).strip("[] *") or None,
        min(max(float(confidence), 0.0), 1.0) if isinstance(confidence, int | float) else 0.0,
        [_text(item) for item in evidence if _text(item)][:MOST_EVIDENCE] if isinstance(evidence, list) else [],
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("text")
    text = value.strip() if isinstance(value, str) else ""
    text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"
