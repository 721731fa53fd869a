"""One account of several processes: each counts in files of one folder, and every scrape sums up over all of them.

This is prometheus_client's own mode for many processes. What an ended process has counted still counts, so that totals
never fall; its gauges go with it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest, values
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from collector.errors import Misconfigured

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder; processes started from here on inherit it."""
LIVING = "gauge_livesum_{}.db"
SUMMED = ("process_cpu_seconds", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds")


def share(folder: Path) -> None:
    """Metrics that are made from now on, here and in processes started from here, count in this folder."""
    for left_over in folder.glob("*.db"):
        left_over.unlink(missing_ok=True)
    os.environ[VARIABLE] = str(folder)
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # no types there


def shared_folder() -> Path:
    """What `share` was given, here or in the process that started this one."""
    return Path(os.environ[VARIABLE])


def reserve(folder: Path) -> None:
    """Room on the disk for this process's counts: writing to mapped pages of a full disk would kill it.

    Raises Misconfigured.
    """
    for path in folder.glob(f"*_{os.getpid()}.db"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise Misconfigured(
                f"The metrics in {folder} have no room ({error.strerror}). Make some, name another data folder with "
                "XRAY_DATA_DIR, or do with one process, XRAY_WORKERS=1."
            ) from error


def forget(pid: int) -> None:
    """The process has ended: its gauges no longer count."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]  # no types there


def summed_text(folder: Path) -> bytes:
    """The exposition of all processes together."""
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # no types there
    registry.register(_Processes(folder))
    return generate_latest(registry)


class _Processes(Collector):
    """What the living processes use, summed; limits and times of start are those of the lowest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for pid in self._pids():
            for family in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]  # a default
                first = families.setdefault(family.name, family)
                if first is not family:
                    first.samples = [_joined(first, family)]
        yield from families.values()

    def _pids(self) -> list[int]:
        before, after = LIVING.split("{}")
        found = (path.name for path in self._folder.glob(LIVING.format("*")))
        return sorted(int(name.removeprefix(before).removesuffix(after)) for name in found)


def _joined(one: Metric, other: Metric) -> Sample:
    (first,), (second,) = one.samples, other.samples
    join = sum if one.name in SUMMED else min
    return first._replace(value=join((first.value, second.value)))
