"""What a value or a text shows of a fault that no status tells: an error, emptiness, a refusal, a cut."""

import re
from typing import Any

from collector.reasoning.content import unwrapped, word, written

HEAD_CHARS = 600
"""A fault shows at the start of a text."""

ERROR_HEAD = re.compile(
    r"\W{0,4}(?:"
    r"(?:an? )?(?:\w+ ){0,2}(?:error|exception|failure)(?: occurred| while|[:!])|"
    r"(?:error|exception|failed|failure|fatal|traceback|unable to|could ?n.t|cannot|can.t|access denied)\b(?!-free)|"
    r"(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|Exception|Failure|Timeout|NotFound|Denied|Refused|Exceeded)\b|"
    r"(?-i:(?:[A-Z][a-z]+){2,5}: )|"  # InvalidArgument: …, as exceptions print themselves
    r"(?:http|status)(?: code| error)?:? ?[45]\d\d\b|"
    r"[45]\d\d (?:bad|not|un|forbidden|request|too many|internal|service|gateway)|"
    r"(?:unknown|invalid|unsupported|no such|missing|undefined|bad) (?:required )?"
    r"(?:tool|function|argument|parameter|method|command|request|input|field|key|name)"
    r")",
    re.IGNORECASE,
)
STACK = "Traceback (most recent call last)"
ERROR_KEYS = frozenset(("error", "errors", "err", "exception", "fault", "failure", "error_message", "errorMessage"))
FAILED_WORDS = frozenset(("error", "failed", "failure", "fail", "errored", "exception", "fatal", "denied", "timeout"))
STATE_KEYS = ("status", "state", "result", "level", "type", "outcome")
FLAG_KEYS = ("success", "ok", "succeeded", "is_success")
REASON_KEYS = ("message", "detail", "details", "reason", "description", "msg", "title", "code", "type", "name")

TELLING_KEYS = (*sorted(ERROR_KEYS), *REASON_KEYS)
STATUS_KEYS = ("status", "status_code", "statusCode", "code")
NO_ERROR = frozenset(("", "none", "null", "no", "false", "0", "ok"))

MISUSE = re.compile(
    r"(?:unknown|no such|unregistered|undefined|nonexistent|unsupported) (?:tool|function|method|action|command)|"
    r"(?:tool|function|action)s? ['\"`]?[\w.-]*['\"`]? ?(?:is |was |does |could )?(?:not |n.t )"
    r"(?:be )?(?:exist|found|registered|available|defined|known|supported)|toolnotfound|"
    r"unexpected keyword argument|missing \d* ?required|field required|required (?:property|field|argument|parameter)|"
    r"is not of type|(?:invalid|bad|wrong|unexpected|missing) (?:tool |function |input |required )?"
    r"(?:arguments?|parameters?|params|input)|"
    r"validation errors? for|does not match (?:the )?schema|extra (?:inputs|fields) (?:are )?not permitted",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"(?:\b(?:i|we)(?:.m| am|.re| are)? (?:sorry\W{1,3}(?:but )?(?:i |we )?)?"
    r"(?:can.?t|can ?not|could ?n.t|won.?t|will not|unable to|not able to|am not able to|must decline|have to decline|"
    r"decline|refuse|do not feel comfortable|.m not comfortable)"
    r"[^.]{0,40}?\b(?:help|assist|comply|provide|discuss|engage|fulfil|generate|produce|support|answer that|do that|"
    r"continue|share|create|write|to answer|answer this)\b)|\bmust decline\b|\bas an ai\b|"
    r"against (?:my|our|the) (?:guidelines|polic)|violates? (?:our|my|the) (?:usage |content )?polic|content policy",
    re.IGNORECASE,
)
# For text in small letters. It looks on only where a word begins with one of these letters, and each way begins with a
# letter of its own: half the time of the plain spelling.
LACK = re.compile(
    r"\b(?=[cunwdfzlipets])(?:"
    r"(?:couldn.t|could not|can.t|cannot|unable to|wasn.t able|was not able|not able to|did(?:n.t| not)|failed to) "
    r"(?:\w+ ){0,2}?(?:retrieve|find|locate|access|reach|get|fetch|load|look ?up|determine|obtain|connect|complete|"
    r"tell|say|answer|identify|process|verify|check)|"
    r"(?:no|not any|zero) (?:\w+ ){0,2}?(?:documents?|results?|information|data|matches|records?|sources?|entries|"
    r"candidates|items|answer)\b|"
    r"(?:don.t|do not|didn.t|lack|without) (?:have )?(?:enough |sufficient |any |the )?"
    r"(?:information|data|context|details)|"
    r"isn.t (?:responding|available|working)|not (?:responding|available|working) |unavailable|"
    r"(?:problem|issue|error|trouble) (?:on our|with (?:the|our)|accessing|retrieving|connecting|while)|"
    r"something went wrong|try again later|unfortunately\b)"
)
TIMED_OUT = re.compile(
    r"time[d ]?-?out|timeout|deadline|took too long|etimedout|\b(?:http )?(?:408|504)\b|lease expired", re.IGNORECASE
)
CANCELLED = re.compile(r"cancel+ed|context canceled|\baborted\b|cancelscope|\b499\b", re.IGNORECASE)
LIMIT = re.compile(
    r"max\w{0,12}[ _-]?(?:iteration|step|turn|round|attempt|retries|depth|call|request|tool)|recursion|"
    r"(?:iteration|step|turn|request|usage|loop|call|round)s?[ _-]?limit|limit\w* of \d+|stopped after \d+|"
    r"too many (?:iterations|steps|turns|tool calls)|budget (?:exceeded|exhausted)|loop detected",
    re.IGNORECASE,
)
SHAPE = re.compile(
    r"json|pars(?:e|er|ing)|decod|validation|schema|\b(?:key|index|type|value|attribute|lookup|assertion|zerodivision)error|"
    r"stopiteration|nonetype|null ?pointer|undefined|not subscriptable|out of (?:range|bounds)|empty|"
    r"unexpected (?:token|character|end)|at least (?:one|1)|no (?:candidates|items|results|rows|documents)|nothing to|"
    r"missing (?:field|key|value)|required field|cannot read propert|division by zero|unmarshal|deserializ",
    re.IGNORECASE,
)
PARSING = re.compile(
    r"json|pars(?:e|er|ing)|decod|unexpected (?:token|character|end)|unmarshal|deserializ|validation", re.IGNORECASE
)
CLEANUP = re.compile(
    r"rollback|clean[ _-]?up|tear[ _-]?down|flush|close|dispose|release|shutdown|finali[sz]e|audit|metric|undo|"
    r"save_memory|unlock|disconnect|logout",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?…:;)\]}>\"'`*_|。！？\d]\s*$")
CUT_REASONS = frozenset(
    ("length", "max_tokens", "max_output_tokens", "token_limit", "model_length", "model_context_window_exceeded")
)
REFUSED_REASONS = frozenset(
    (
        "content_filter",
        "content-filter",
        "refusal",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "guardrail_intervened",
    )
)
DESCRIBING = frozenset(
    (
        *(
            "took",
            "took_ms",
            "elapsed",
            "elapsed_ms",
            "duration_ms",
            "total",
            "count",
            "size",
            "length",
            "page",
            "limit",
        ),
        *(
            "offset",
            "query",
            "source",
            "status",
            "ok",
            "success",
            "message",
            "next",
            "next_cursor",
            "cursor",
            "has_more",
        ),
        *("name", "type", "id", "version", "model", "index", "namespace", "usage", "cached", "time", "timestamp"),
    )
)


def error_in(value: Any) -> str | None:
    """The error that a result tells although nothing was raised, in short; None where it tells none."""
    if isinstance(value, dict) and (value.get("isError") is True or value.get("is_error") is True):
        return words(unwrapped(value)) or "it is marked as an error"
    if isinstance(value, dict) and str(value.get("status")).lower() == "error" and "content" in value:
        return words(value["content"])
    value = unwrapped(value)
    if isinstance(value, str):
        head = value[:HEAD_CHARS]
        return head if ERROR_HEAD.match(head) or STACK in head else None
    return _told(value) if isinstance(value, dict) else None


def _told(value: dict[str, Any]) -> str | None:
    for key in ERROR_KEYS & value.keys():
        held = value[key]
        if held is True:
            return words(value)
        if isinstance(held, str) and held.lower() in NO_ERROR:
            continue
        if held not in (None, False, 0, [], {}):
            return words(held)
    failed = any(value.get(key) is False for key in FLAG_KEYS)
    failed = failed or any(word(value.get(key)).lower() in FAILED_WORDS for key in STATE_KEYS)
    failed = failed or any(type(value.get(key)) is int and 400 <= value[key] < 600 for key in STATUS_KEYS)
    return words(value) if failed else None


def words(value: Any) -> str:
    """The readable part of an error's structure."""
    for _ in range(4):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict):
            inner = next((value[key] for key in TELLING_KEYS if value.get(key) not in (None, "", True)), None)
            if inner is None:
                break
            value = inner
        else:
            break
    return written(value)[:HEAD_CHARS]


def is_empty(value: Any) -> bool:
    """Whether a result holds nothing: nothing at all, or a structure whose lists are all empty."""
    value = unwrapped(value)
    if value is None or value in ("", [], {}, "[]", "{}", "null", "None"):
        return True
    if isinstance(value, list):
        return all(item in (None, "", [], {}) for item in value)
    if not isinstance(value, dict):
        return False
    hollow = [key for key, held in value.items() if held in ([], {}) and key not in ERROR_KEYS and key != "warnings"]
    full = [key for key, held in value.items() if held not in ([], {}, None, "", 0) and key.lower() not in DESCRIBING]
    return bool(hollow) and not full


def is_misuse(text: str | None) -> bool:
    """Whether an error says that the caller asked wrongly: a tool that does not exist, arguments that do not fit."""
    return bool(text) and MISUSE.search(str(text)[:HEAD_CHARS]) is not None


def is_refusal(text: str, finish: str | None) -> bool:
    if finish is not None and finish.lower() in REFUSED_REASONS:
        return True
    return len(text) < HEAD_CHARS and REFUSAL.search(text) is not None


def tells_lack(text: str) -> bool:
    """Whether an answer says that something could not be found or done."""
    return len(text) < 2 * HEAD_CHARS and LACK.search(text.lower()) is not None


def is_cut(finish: str | None) -> bool:
    return finish is not None and finish.lower() in CUT_REASONS


def looks_cut(text: str, tokens_output: int | None) -> bool:
    """Whether an answer without a finish reason ends in the middle, at a round number of tokens."""
    if not text or tokens_output is None or tokens_output < 64 or tokens_output % 64:
        return False
    return SENTENCE_END.search(text[-40:]) is None
