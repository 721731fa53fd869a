"""What processes cost: CPU seconds and memory, read from the system."""

from collections.abc import Iterable
from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    rss_mb: float
    """Resident pages, shared ones counted in every process."""
    pss_mb: float
    """Resident pages, shared ones divided among their users."""


def tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds so far, those of ended children included."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(processes: Iterable[psutil.Process]) -> Memory:
    rss = pss = 0
    for process in processes:
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        rss += full.rss
        pss += full.pss
    return Memory(rss / (1 << 20), pss / (1 << 20))
