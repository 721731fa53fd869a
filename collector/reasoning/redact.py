"""Secrets and personal data taken out of text, before it leaves for a model or (by setting) before it is stored.

Own patterns instead of a library, after a look at those that are kept: detect-secrets reports lines and replaces
nothing, scrubadub brings scikit-learn, presidio a language model.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial

import orjson

from collector.reasoning.secret_forms import CHECKS, FORMS, HARMLESS_NAME, SECRET_NAME, Form

_CUT_KEY = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
"""What is left of a private key whose beginning was cut off."""
_KEY_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\\")
_IN_LIST = "[, \t\r\n"
_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:\s*)?', re.DOTALL)


class Redactor:
    """Replaces what looks like a secret by `[REDACTED:kind]`."""

    def __init__(self, own_patterns: Iterable[str] = ()) -> None:
        """Raises re.error where an own pattern is no regular expression."""
        self._forms = *(Form("own", re.compile(pattern), ()) for pattern in own_patterns), *FORMS

    def text(self, text: str) -> str:
        lower = text.lower()
        for kind, pattern, hints in self._forms:
            if not hints or any(hint in lower for hint in hints):
                text = pattern.sub(partial(_replaced, kind), text)
        return _without_cut_keys(text) if "PRIVATE KEY" in text else text

    def json(self, text: str) -> str:
        """A JSON text with its strings redacted, and with the values of telling names gone.

        Everything between the strings stays as it is, numbers to their last digit.
        """
        pieces: list[str] = []
        end, name = 0, ""
        for match in _STRING.finditer(text):
            between, told, colon = text[end : match.start()], _decoded(match[1]), match[2] or ""
            if between.strip(_IN_LIST):  # the name is not of this one
                name = ""
            kept = self.text(told) if colon else self._value(name, told)
            pieces += between, match[0] if kept == told else orjson.dumps(kept).decode() + colon
            if colon:
                name = told
            end = match.end()
        return "".join(pieces) + text[end:]

    def _value(self, name: str, value: str) -> str:
        if not value or not SECRET_NAME.fullmatch(name):
            return self.text(value)
        harmless = HARMLESS_NAME.match(name) and (len(value) < 12 or " " in value)
        return self.text(value) if harmless else "[REDACTED:secret]"


def redact_text(text: str, own_patterns: Sequence[str] = ()) -> str:
    """A text without what looks like a secret."""
    return Redactor(own_patterns).text(text)


def redact_json(text: str, own_patterns: Sequence[str] = ()) -> str:
    """A JSON text without what looks like a secret; still valid JSON."""
    return Redactor(own_patterns).json(text)


def _replaced(kind: str, match: re.Match[str]) -> str:
    if kind in CHECKS and not CHECKS[kind](match[0]):
        return match[0]
    kept = match.groupdict().get("keep") or ""
    return f"{kept}[REDACTED:{kind}]"


def _decoded(text: str) -> str:
    """The inside of a JSON string; one that holds half a surrogate pair stays as it is written."""
    if "\\" not in text:
        return text
    try:
        return str(orjson.loads(f'"{text}"'))
    except orjson.JSONDecodeError:
        return text


def _without_cut_keys(text: str) -> str:
    pieces, end = [], 0
    for match in _CUT_KEY.finditer(text):
        start = match.start()
        while start > end and text[start - 1] in _KEY_LETTERS:
            start -= 1
        pieces += [text[end:start], "[REDACTED:private_key]"]
        end = match.end()
    return "".join(pieces) + text[end:]
