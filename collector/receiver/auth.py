"""Who is calling: the question that both doors ask before they read a body."""

from collections.abc import Awaitable, Callable, Mapping

Authorize = Callable[[Mapping[str, str]], Awaitable[str | None]]
"""Headers (or metadata) by lower-case name to the project of the key, None where no key is needed.

Raises Unauthenticated or Forbidden.
"""


async def anyone(_: Mapping[str, str]) -> str | None:
    """No key is asked for."""
    return None
