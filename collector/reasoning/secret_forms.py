"""How secrets and personal data look in text.

Every repetition is bounded or anchored, so that no text makes a search slow.
"""

import re
from collections.abc import Callable
from typing import NamedTuple


class Form(NamedTuple):
    """One kind of secret; of a match, the group `keep` stays."""

    kind: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...]
    """Of which a text in small letters holds one, or it is not searched; none: it always is."""


def _form(kind: str, pattern: str, *hints: str) -> Form:
    return Form(kind, re.compile(pattern, re.DOTALL), hints)


_KEYS = "api|access|private|secret|signing|encryption|subscription|master|account|shared|service|storage|ssh|auth"
_WORDS = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|credential|authorization|signature|(?<![a-z])(?:otp|auth)|\w_pass|"
    rf"(?<=[\"'])pass(?=\\?[\"'])|(?:{_KEYS})[_-]?key"
)
_WORD_HINTS = ("pass", "pwd", "secret", "token", "credential", "signature", "otp", "auth", "key")
_NAMES = rf"[\w.-]{{0,40}}(?:{_WORDS})s?(?:[_-]\w{{1,20}}){{0,2}}"
SECRET_NAME = re.compile(rf"(?i){_NAMES}|(?:set-)?cookie|pass|pin|cv[vc]|ssn|iban|card_?number")
"""The name of a JSON member whose text is a secret."""
HARMLESS_NAME = re.compile(r"(?i).*tokens?(?:_(?:count|usage|type|limit|details))?$")
"""`max_tokens`, `token_count`: numbers of a model's tokens, which are told from secrets by their values."""
# Said of a secret, or instead of one; numbers are none either.
_NO_VALUE = (
    r"(?!\[REDACTED|(?:null|none|true|false|nil|undefined|bearer|basic|required|missing|invalid|expired|optional|"
    r"\d{1,12}(?:\.\d{1,9})?)\b)"
)
_QUOTE = r"[\"'\\]{0,3}"
_VALUE = r"[^\s\"'\\,;&<>{}()\[\]]{4,}"
_MIXED = r"(?=\S{0,200}?(?:\d|(?-i:[a-z][A-Z]|=)))"  # words of a sentence have neither

# What providers put before their keys, so that they are found.
_PREFIXES = (
    r"[spr]k_(?:live|test)|whsec|xai|gsk|r8|hf|npm|dop_v1|gl(?:pat|rt|dt|ptt|soat|agent|cbt)|shp(?:at|ca|pa|ss)|rk|nvapi|"
    r"tvly|pplx|lsv2|pcsk|lin_api|ntn|dckr_pat|sntry[su]|xkeysib|GOCSPX|PMAK|NRAK|AGE-SECRET-KEY"
)
# So short or so common that a digit must follow, too.
_SHORT_PREFIXES = r"xapp|tfp|figd|sbp|e2b|phx|csk|pscale_(?:tkn|pw)|ATATT3|ATCTT3"
FORMS = (
    # A block with its frame, or one whose end was cut off.
    _form(
        "private_key",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        r".*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        "private key",
    ),
    _form("jwt", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", "eyj"),
    # Up to the last @ before a space: a password may hold one itself. A port is none.
    _form(
        "password",
        r"(?<=://)(?P<keep>[^\s:/@\"'<>]{0,100}:)(?!\d{1,5}(?:[/?#\s\"']|$))[^\s\"'<>]{1,200}(?=@)",
        "://",
    ),
    _form("aws_key", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _form("api_key", r"\bsk-[\w-]{16,}", "sk-"),
    _form("api_key", rf"\b(?:{_PREFIXES})[_-][\w-]{{16,}}"),
    _form("api_key", rf"\b(?:{_SHORT_PREFIXES})[_-](?=[\w-]{{0,200}}?\d)[\w-]{{16,}}"),
    _form("api_key", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})", "gh", "github"),
    _form("api_key", r"\b(?:pypi-[\w-]{40,}|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{20,})", "pypi-", "sg.", "ya29."),
    _form("api_key", r"\b(?:xox[abcdeoprs]-[\w-]{10,}|AIza[\w-]{35}|4/0A[\w-]{30,})", "xox", "aiza", "4/0a"),
    _form("api_key", r"\b(?:EAAC[A-Za-z0-9]{30,}|hv[sbr]\.[\w-]{20,})", "eaac", "hv"),
    _form("api_key", r"\bsecret_[A-Za-z0-9]{40,}", "secret_"),
    _form("api_key", r"\b(?:key-|SK|dapi)[0-9a-f]{32}\b", "key-", "sk", "dapi"),
    _form("api_key", r"[\w~.]{3}\dQ~[\w~.-]{31,34}", "q~"),  # a client secret of Azure's
    _form("api_key", r"(?<!\d)\d{8,10}:AA[\w-]{33}", ":aa"),  # a bot of Telegram's
    _form("api_key", r"\b[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,38}"),  # a bot of Discord's
    _form("api_key", r"hooks\.slack\.com/services/[\w/]{20,}", "hooks.slack"),
    _form(
        "api_key",
        r"(?i)\b(?:AccountKey|SharedAccessKey|sig|X-Amz-Signature)=[\w+/%=-]{20,}",
        *("accountkey=", "accesskey=", "sig=", "signature="),
    ),
    _form(
        "cookie",
        rf"(?i)\b(?P<keep>(?:set-)?cookie{_QUOTE}\s{{0,3}}[:=]\s{{0,3}}{_QUOTE})(?=[\w.-]{{1,80}}=)[^\r\n\"'\\]{{4,}}",
        "cookie",
    ),
    # With whatever scheme: all parts of it.
    _form(
        "token",
        rf"(?i)\b(?P<keep>authorization{_QUOTE}\s{{0,3}}[:=]\s{{0,3}}{_QUOTE}(?:[a-z][\w-]{{1,30}}(?:\s|%20|\+){{1,3}})?)"
        rf"(?:(?<=digest\s)[^\r\n]{{8,}}|{_MIXED}[^\s\"'\\,;&<>{{}}()\[\]]{{8,}})",
        "authorization",
    ),
    _form(
        "token",
        rf"(?i)\b(?P<keep>(?:bearer|basic|bot)(?:\s|%20|\+){{1,3}}){_MIXED}[\w.~+/=-]{{12,}}",
        *("bearer", "basic", "bot"),
    ),
    # name = value, "name": "value", name: value, name => value, <name>value, --name value, "name is value".
    _form(
        "secret",
        rf"(?i)(?<![\w.-])(?P<keep>{_NAMES}{_QUOTE}\s{{0,3}}(?:=>|[:=>])\s{{0,3}}\[?{_QUOTE}){_NO_VALUE}{_VALUE}",
        *_WORD_HINTS,
    ),
    _form(
        "secret",
        rf"(?i)(?<![\w-])(?P<keep>--?{_NAMES}\s{{1,3}}{_QUOTE}){_NO_VALUE}(?!-){_VALUE}",
        *_WORD_HINTS,
    ),
    _form(
        "secret",
        rf"(?i)\b(?P<keep>(?:{_WORDS}|pin|api key) (?:is|was) [\"'“]?){_MIXED}[^\s\"'”,;]{{6,}}",
        *(" is ", " was "),
    ),
    _form("secret", r"(?P<keep>\bmysql\w{0,10} [^\r\n]{0,100}?-p)[^\s\"'-][^\s\"']{3,}", "mysql"),
    _form(
        "secret",
        r"(?P<keep>\bcurl [^\r\n]{0,200}?(?:-u|--user) ?[\"']?[\w.@-]{1,80}:)[^\s\"']{3,}",
        "curl ",
    ),
    _form(
        "email",
        r"(?<![\w.%+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b",
        "@",
    ),
    _form("iban", r"(?<![\w-])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])"),
    _form("card", r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){8,15}(?![\w-])"),
    _form("phone", r"(?<![\w.+-])\+\d{1,3}(?:[ ().-]{0,3}\d){8,13}(?![\w-])", "+"),
    _form("phone", r"\(\d{3}\) ?\d{3}[ .-]\d{4}(?!\d)", "("),
    _form("phone", r"(?<![\w.+-])\d{3}-\d{3}-\d{4}(?![\w-])", "-"),
    _form("ssn", r"(?<![\w.+-])\d{3}-\d{2}-\d{4}(?![\w-])", "-"),
)


def is_card(digits: str) -> bool:
    """True where the last digit checks the others (Luhn)."""
    numbers = [int(digit) for digit in digits if digit.isdigit()]
    if not 13 <= len(numbers) <= 19:
        return False
    doubled = [sum(divmod(2 * number, 10)) for number in numbers[-2::-2]]
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """True where the two check digits fit the rest (ISO 7064)."""
    letters = text.replace(" ", "")
    return 15 <= len(letters) <= 34 and int("".join(str(int(one, 36)) for one in letters[4:] + letters[:4])) % 97 == 1


CHECKS: dict[str, Callable[[str], bool]] = {"card": is_card, "iban": is_iban}
"""What a match must pass besides."""
