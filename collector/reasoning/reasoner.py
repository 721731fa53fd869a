"""What explains: one method behind which the rules and the models stand, and what it may say instead of an answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from collector.errors import XRayError
from collector.model import Explanation
from collector.reasoning.case import Case


class Reasoner(Protocol):
    """Explains the due steps of a case, or raises one of the errors below.

    A due span that is missing in the answer has failed.
    """

    async def explain(self, case: Case) -> list[Explanation]: ...


class Engine(NamedTuple):
    """A reasoner with what the worker must know of it."""

    reasoner: Reasoner
    name: str
    prompt_version: str | None = None
    is_slow: bool = False
    """True where an answer takes seconds: executions then settle first, and wait for it in a lane of their own."""
    close: Callable[[], Awaitable[None]] | None = None
    """Frees what the reasoner holds open."""


class ReasonerError(XRayError):
    """The reasoner could not answer."""


class ProviderFailed(ReasonerError):
    """The provider failed in a way that may pass: another try costs an attempt."""


class Refused(ReasonerError):
    """The provider will not answer this, however often it is asked."""


class ProviderClosed(ReasonerError):
    """Nobody may ask the provider before `retry_after_s`; waiting costs no attempt."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverBudget(ProviderClosed):
    """The project has spent what it may spend today."""


class PartialAnswer(ReasonerError):
    """Some spans were explained; `reasons` says why the others were not, `closed` that they only have to wait."""

    def __init__(
        self, explanations: Sequence[Explanation], reasons: Mapping[bytes, str], closed: ProviderClosed | None = None
    ) -> None:
        super().__init__("The answer lacks a part.")
        self.explanations = list(explanations)
        self.reasons = dict(reasons)
        self.closed = closed
