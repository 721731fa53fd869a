"""Numbers, names and quotes as people read them: pure."""

import re
from collections.abc import Sequence

import orjson

from collector.model import Step

NAME_CHARS = 80
QUOTE_CHARS = 140
AGENT_PREFIX = re.compile(r"^(?:invoke_agent|create_agent|agent run|agent)[ :]+", re.IGNORECASE)


def duration(nanoseconds: float) -> str:
    """`0.4 ms`, `340 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`."""
    ms = nanoseconds / 1e6
    if ms < 9.95:
        return f"{ms:.1f} ms" if ms >= 0.05 else "under 0.1 ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def money(usd: float) -> str:
    """`$0.0042`, `$0.42`, `$12.30`: two digits that say something."""
    if usd >= 0.1:
        return f"${usd:,.2f}"
    if usd < 0.00001:
        return "under $0.00001" if usd else "$0"
    places = 2
    while usd * 10**places < 9.95:
        places += 1
    return f"${usd:.{places}f}"


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def times(factor: float) -> str:
    """`3.4 times`, `7 times`, `1,200 times`."""
    whole = isinstance(factor, int) or factor >= 9.95
    return f"{factor:,.0f} times" if whole else f"{factor:.1f} times"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 step`, `12,400 tokens`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Sequence[str], most: int = 4) -> str:
    """`a, b and c`; what is beyond `most` is counted."""
    shown = list(items[:most])
    if len(items) > most:
        shown.append(f"{len(items) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def brief(text: str, most: int = QUOTE_CHARS) -> str:
    """One line of at most `most` characters: the head of the text."""
    line = " ".join(text[: most + 40].split())
    if len(line) <= most < len(text):  # much of its head is space
        line = " ".join(text[: most * 3].split())
    if len(line) <= most and len(text) <= most * 3:
        return line
    return line[: most - 1].rstrip(" ,;:.") + "…"


def quoted(text: str, most: int = QUOTE_CHARS) -> str:
    return f"“{brief(text, most)}”"


def shown(json_text: str, most: int = QUOTE_CHARS) -> str:
    """A JSON text as it is read: a string without its quotes, else the JSON itself."""
    if json_text[:1] == '"' and len(json_text) < 20_000:
        try:
            return quoted(str(orjson.loads(json_text)), most)
        except ValueError:
            pass
    return brief(json_text, most) if json_text[:1] in "{[0123456789-tfn" else quoted(json_text, most)


def sentence(words: str) -> str:
    """With a capital in front and a full stop behind."""
    words = words.strip()
    end = "" if words[-1:] in ".!?…" or words[-2:] in ("…”", ".”", "!”", "?”") else "."
    return words[:1].upper() + words[1:] + end if words else ""


def name(step: Step) -> str:
    return brief(step.name, NAME_CHARS) or "a step without a name"


def agent_name(step: Step) -> str:
    given = step.extra.agent if step.extra and step.extra.agent else AGENT_PREFIX.sub("", step.name)
    return brief(given, NAME_CHARS)


def failed_with(told: str) -> str:
    return f"it failed with {quoted(told)}"


def described(step: Step) -> str:
    """A step as the subject of a sentence."""
    if step.kind == "tool":
        return f"the tool {brief(step.tool or step.name, NAME_CHARS)}"
    if step.kind == "llm":
        return f"the model call {name(step)}"
    if step.kind == "agent":
        return f"the agent {agent_name(step)}"
    if step.kind == "retriever":
        return f"the search {name(step)}"
    if step.kind == "http" and step.input:
        return f"the request {brief(step.input.strip(chr(34)), NAME_CHARS)}"
    if step.kind == "db" and step.input:
        return f"the query {shown(step.input, NAME_CHARS)}"
    return f"the step {name(step)}"
