"""Secrets and personal data taken out of text, before it leaves for a model or (by setting) before it is stored.

Own patterns instead of a library, after a look at those that are kept: detect-secrets reports lines and replaces
nothing, scrubadub brings scikit-learn, presidio a language model. Every repetition below is bounded or anchored, so
that no text makes a search slow.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial

import orjson

_WORDS = r"pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|authorization"
_NAMES = rf"[\w.-]{{0,40}}(?:{_WORDS})s?(?:[_-]\w{{1,20}}){{0,2}}"

# In this order; of a match, `keep` stays and the rest becomes a marker with the kind's word.
_PATTERNS: tuple[tuple[str, str], ...] = (
    # A block with its frame, or one whose end was cut off.
    (
        "private_key",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        r".*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    ("jwt", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),
    ("password", r"(?<=://)(?P<keep>[^\s:/@\"'<>]{0,100}:)[^\s/@\"'<>]{1,200}(?=@)"),
    ("aws_key", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    ("api_key", r"\bsk-[\w-]{16,}"),
    (
        "api_key",
        r"\b(?:[spr]k_(?:live|test)|whsec|xai|gsk|r8|hf|npm|dop_v1|glpat|shpat|rk|nvapi|tvly|pplx|lsv2)[_-][\w-]{16,}",
    ),
    ("api_key", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|pypi-[\w-]{40,}|SG\.[\w-]{16,}\.[\w-]{16,})"),
    ("api_key", r"\b(?:xox[abeoprs]-[\w-]{10,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|EAAC[A-Za-z0-9]{30,})"),
    ("api_key", r"hooks\.slack\.com/services/[\w/]{20,}"),
    ("api_key", r"\b(?:AccountKey|SharedAccessKey|sig)=[\w+/%=-]{20,}"),
    ("token", r"(?i)\b(?P<keep>(?:bearer|basic)\s{1,3})[\w.~+/=-]{12,}"),
    # name = value, "name": "value", name: value; numbers and words like null are no secrets.
    (
        "secret",
        rf"(?i)(?<![\w.-])(?P<keep>{_NAMES}[\"'\\]{{0,3}}\s{{0,3}}[:=]\s{{0,3}}[\"'\\]{{0,3}})"
        r"(?!\[REDACTED|(?:null|none|true|false|nil|undefined|bearer|basic|\d{1,12}(?:\.\d{1,9})?)\b)[^\s\"'\\,;&<>{}()\[\]]{4,}",
    ),
    ("email", r"(?<![\w.%+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b"),
    ("card", r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){8,15}(?![\w-])"),
)
_CUT_KEY = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
"""What is left of a private key whose beginning was cut off."""
_KEY_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\\")
_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:\s*)?', re.DOTALL)
_SECRET_NAME = re.compile(rf"(?i){_NAMES}|cookie|set-cookie")
_HARMLESS_NAME = re.compile(r"(?i).*tokens?(?:_(?:count|usage|type|limit|details))?$")
"""`max_tokens`, `token_count`: numbers of a model's tokens, which are told from secrets by their values."""


def is_card(digits: str) -> bool:
    """True where the last digit checks the others (Luhn)."""
    numbers = [int(digit) for digit in digits if digit.isdigit()]
    if not 13 <= len(numbers) <= 19:
        return False
    doubled = [sum(divmod(2 * number, 10)) for number in numbers[-2::-2]]
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


class Redactor:
    """Replaces what looks like a secret by `[REDACTED:kind]`."""

    def __init__(self, own_patterns: Iterable[str] = ()) -> None:
        """Raises re.error where an own pattern is no regular expression."""
        own = [("own", re.compile(pattern)) for pattern in own_patterns]
        self._patterns = own + [(kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _PATTERNS]

    def text(self, text: str) -> str:
        for kind, pattern in self._patterns:
            text = pattern.sub(partial(_replaced, kind), text)
        return _without_cut_keys(text) if "PRIVATE KEY" in text else text

    def json(self, text: str) -> str:
        """A JSON text with its strings redacted, and with the values of telling names gone.

        Everything between the strings stays as it is, numbers to their last digit.
        """
        pieces, end, name, value_at = [], 0, "", -1
        for match in _STRING.finditer(text):
            pieces.append(text[end : match.start()])
            told = _decoded(match[1])
            colon = match[2] or ""
            kept = self._value(name, told) if match.start() == value_at else self.text(told)
            pieces.append(match[0] if kept == told else orjson.dumps(kept).decode() + colon)
            name, value_at = (told, match.end()) if colon else ("", -1)
            end = match.end()
        return "".join(pieces) + text[end:]

    def _value(self, name: str, value: str) -> str:
        if not value or not _SECRET_NAME.fullmatch(name):
            return self.text(value)
        harmless = _HARMLESS_NAME.match(name) and (len(value) < 12 or " " in value)
        return self.text(value) if harmless else "[REDACTED:secret]"


def redact_text(text: str, own_patterns: Sequence[str] = ()) -> str:
    """A text without what looks like a secret."""
    return Redactor(own_patterns).text(text)


def redact_json(text: str, own_patterns: Sequence[str] = ()) -> str:
    """A JSON text without what looks like a secret; still valid JSON."""
    return Redactor(own_patterns).json(text)


def _replaced(kind: str, match: re.Match[str]) -> str:
    if kind == "card" and not is_card(match[0]):
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
