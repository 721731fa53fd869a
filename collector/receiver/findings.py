"""What decoding found out about a request besides its data: what was altered, and what could not be kept."""

from collections.abc import Iterable
from typing import Any

import msgspec

from collector.model import Refusal
from collector.receiver.shape import Shape

MAX_MESSAGE_DEPTH = 90
"""Values below so many messages become their JSON text: protobuf's parser ends at 100, an array costs 2, a map 3."""

BAD_TEXT = "characters that are not valid UTF-8 were replaced by U+FFFD"
TOO_DEEP = "a value nested too deeply (more than 45 arrays or 30 maps) was replaced by its JSON text"
LOGS_AS_SPANS = (
    "this looks like OTLP logs: send log records to /v1/logs (or LogsService/Export), and spans to /v1/traces"
)


class Notes(list[str]):
    """What was altered in the part that is being read, and in how many messages the reader is."""

    depth: int = 0


class Findings(msgspec.Struct):
    repairs: dict[bytes, list[str]] = {}
    """Warnings by span id, or by record id."""
    refusals: list[Refusal] = []

    def repaired(self, item: Any, shape: Shape, *notes: Iterable[str]) -> None:
        """Keeps the notes about a span or log record; each text once."""
        texts = dict.fromkeys(text for part in notes for text in part)
        if texts:
            known = self.repairs.setdefault(shape.key_of(item), [])
            known += [text for text in texts if text not in known]

    def refuse(self, reason: str, message: str, items: int = 1) -> None:
        self.refusals.append(Refusal(reason, message, items))
