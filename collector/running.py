"""A process from its settings to its end: the database comes up while the rest of the program is loaded."""

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from collector.config import Settings
from collector.footprint import drop_code
from collector.store.source import DatabaseSource
from collector.telemetry import start_logging

if TYPE_CHECKING:
    from collector.app import Address

Entry = Literal["run", "run_receiver"]
Announce = Callable[["Address"], None]


def run_process(settings: Settings, announce: Announce, entry: Entry = "run") -> None:
    """Runs an entry of `collector.app` until it is told to stop; raises Misconfigured where it can't be started."""

    def started(address: "Address") -> None:
        announce(address)
        drop_code()

    # Nothing of what a start makes is garbage, and looking through it all again and again is a tenth of the start.
    # `collector.app` lets it look again once everything runs.
    gc.disable()
    # Its C core would print a second account of a busy port.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    start_logging(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(settings, started, entry))


async def _main(settings: Settings, announce: Announce, entry: Entry) -> None:
    source = DatabaseSource(settings)
    opening = asyncio.create_task(source.open())
    try:
        app: Any = await asyncio.to_thread(import_module, "collector.app")
        await getattr(app, entry)(settings, opening, announce)
    finally:
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await opening
        await source.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop
    return cast("Callable[[], asyncio.AbstractEventLoop]", new_event_loop)
