"""Every error of X-Ray, and what a caller does with it.

XRayError
├── Rejected         permanent: the sender must not send this again (INVALID_ARGUMENT, 400)
│   └── TooLarge     over a size limit (RESOURCE_EXHAUSTED without RetryInfo, 413)
├── Unauthenticated  no key, or a wrong one (UNAUTHENTICATED, 401)
├── Forbidden        the key is known and does not allow this (PERMISSION_DENIED, 403)
├── Unavailable      temporary: send it again after `retry_after_s` (UNAVAILABLE, 503)
│   └── Overloaded   no room at the door (RESOURCE_EXHAUSTED with RetryInfo, 503)
├── LeaseLost        the job is no longer ours: stop and write nothing
├── NotFound         what was asked for does not exist (404)
├── Conflict         the thing exists, in a state that does not allow this (409)
└── Misconfigured    the start is refused; every fault is listed (exit code 2)

Raise where the fact is known; `receiver/grpc.py`, `receiver/http.py`, `api/problems.py` and `reasoning/worker.py`
turn an error into an answer, each in one place.
"""

from collections.abc import Sequence


class XRayError(Exception):
    """Something X-Ray can name."""


class Rejected(XRayError):
    """The data is wrong for good; sending it again cannot help."""


class TooLarge(Rejected):
    """The message is over a size limit."""


class Unauthenticated(XRayError):
    """No API key came with the call, or one that is not known."""


class Forbidden(XRayError):
    """The API key does not allow this call."""


class Unavailable(XRayError):
    """A temporary fault: the same call may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 2.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """There is no room for more bytes in flight."""


class LeaseLost(XRayError):
    """Another worker owns the job now; whatever this one found out must not be written."""


class NotFound(XRayError):
    """What was asked for does not exist."""


class Conflict(XRayError):
    """The state of the thing does not allow this call."""


class Misconfigured(XRayError):
    """The program can't start as it was asked to.

    `faults` holds one sentence a fault: what is wrong, and what to do.
    """

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))
