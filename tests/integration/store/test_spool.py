"""The spool keeps what it acknowledged, in order and bounded, whatever happens to the process or the file."""

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from collector.errors import Rejected, Unavailable
from collector.store.spool import Spool
from collector.store.spool_file import FILE_NAME, Spooled, SpoolFile
from collector.telemetry import Telemetry

LIMIT_BYTES = 1 << 20
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
FULL_DISK = "tests.integration.store.full_disk"


def request(body: bytes = b"x", project: str | None = None) -> Spooled:
    return Spooled("traces", "protobuf", project, body)


@asynccontextmanager
async def opened(folder: Path, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[Spool]:
    spool = Spool(folder, limit_bytes, Telemetry())
    await spool.open()
    try:
        yield spool
    finally:
        await spool.stop()


class Store:
    """Takes what is drained, as long as it is told to."""

    def __init__(self, refuse: Iterable[bytes] = ()) -> None:
        self.bodies: list[bytes] = []
        self.is_available = True
        self.refuse = set(refuse)
        self.got = asyncio.Event()

    async def __call__(self, spooled: Spooled) -> None:
        if not self.is_available:
            raise Unavailable("away")
        if spooled.body in self.refuse:
            raise Rejected("never")
        self.bodies.append(spooled.body)
        self.got.set()


@pytest.mark.skipif(
    subprocess.run([*OWN_MOUNTS, "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0,
    reason="this system lets nobody mount a small disk",
)
def test_a_full_disk_keeps_what_was_acknowledged_and_empties_again(tmp_path: Path) -> None:
    """On a disk of its own: filled by appending, drained while nothing else can be written, usable again."""
    mount = f"mount -t tmpfs -o size=20m tmpfs {tmp_path} && exec {sys.executable} -m {FULL_DISK} {tmp_path}"
    done = subprocess.run([*OWN_MOUNTS, "sh", "-c", mount], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    acknowledged, drained, again = map(int, done.stdout.split())
    assert acknowledged == drained > 100
    assert again > 100


async def drained(spool: Spool) -> list[bytes]:
    store = Store()
    await spool.drain(store)
    return store.bodies


async def test_requests_come_back_whole_and_in_order(tmp_path: Path) -> None:
    given = [Spooled("logs", "json", "shop", bytes([number]) * number) for number in range(100)]
    async with opened(tmp_path) as spool:
        for each in given:
            await spool.append(each)
        assert spool.bytes == sum(range(100))
    seen: list[Spooled] = []

    async def store(spooled: Spooled) -> None:
        seen.append(spooled)

    async with opened(tmp_path) as spool:
        assert spool.bytes == sum(range(100))
        assert await spool.drain(store) == 100
        assert spool.bytes == 0
    assert seen == given


async def test_what_was_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await asyncio.gather(*(spool.append(request(b"%d" % number)) for number in range(50)))
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in tmp_path.glob(f"{FILE_NAME}*"):
            shutil.copy(file, copy)
    async with opened(copy) as another:
        assert sorted(map(int, await drained(another))) == list(range(50))


async def test_draining_stops_when_the_database_is_lost_and_goes_on_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for number in range(30):
            await spool.append(request(b"%d" % number))
        store = Store()

        async def fails_after_twelve(spooled: Spooled) -> None:
            store.is_available = len(store.bodies) < 12
            await store(spooled)

        with pytest.raises(Unavailable):
            await spool.drain(fails_after_twelve)
        assert store.bodies == [b"%d" % number for number in range(12)]
        assert await drained(spool) == [b"%d" % number for number in range(12, 30)]


async def test_a_full_spool_refuses_and_has_room_again(tmp_path: Path) -> None:
    async with opened(tmp_path, limit_bytes=1000) as spool:
        await spool.append(request(b"a" * 600))
        with pytest.raises(Unavailable):
            await spool.append(request(b"b" * 600))
        await spool.append(request(b"c" * 400))
        assert await drained(spool) == [b"a" * 600, b"c" * 400]
        await spool.append(request(b"d" * 1000))
        assert spool.bytes == 1000


async def test_a_full_disk_refuses_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(request(b"kept"))
        file = spool._opened()
        file._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(Unavailable):
            await spool.append(request(bytes(200_000)))
        assert spool.bytes == len(b"kept")
        file._database.execute("PRAGMA max_page_count = 100000")
        await spool.append(request(b"again"))
        assert await drained(spool) == [b"kept", b"again"]


async def test_a_drained_file_gives_its_room_back(tmp_path: Path) -> None:
    async with opened(tmp_path, limit_bytes=10 << 20) as spool:
        for _ in range(20):
            await spool.append(request(bytes(200_000)))
        full = sum(file.stat().st_size for file in tmp_path.iterdir())
        await drained(spool)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < full / 20


async def test_a_request_that_can_not_be_stored_is_set_aside_until_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for body in (b"1", b"bad", b"2"):
            await spool.append(request(body))
        store = Store(refuse=[b"bad"])
        await spool.drain(store)
        assert store.bodies == [b"1", b"2"]
        assert await drained(spool) == []
        assert spool.bytes == 3
    async with opened(tmp_path) as spool:
        assert await drained(spool) == [b"bad"]


async def test_a_caller_that_gave_up_disturbs_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        tasks = [asyncio.create_task(spool.append(request(b"%d" % number))) for number in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[5].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results if result is not None] == [results[0], results[5]]
        assert len(await drained(spool)) == 10


async def test_it_drains_by_itself_as_soon_as_it_can(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(request(b"left by an earlier process"))
    async with opened(tmp_path) as spool:
        store = Store()
        store.is_available = False
        spool.start(store, lambda: store.is_available)
        await spool.append(request(b"new"))
        assert store.bodies == []
        store.is_available = True
        while spool.bytes:
            await asyncio.sleep(0)
        assert store.bodies == [b"left by an earlier process", b"new"]
        assert spool.is_healthy


async def test_after_stop_nothing_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        appended = asyncio.create_task(spool.append(request(b"last")))
        await asyncio.sleep(0)
        await spool.stop()
        await appended
        with pytest.raises(Unavailable):
            await spool.append(request())
    async with opened(tmp_path) as spool:
        assert await drained(spool) == [b"last"]


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_all_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    command = [sys.executable, "-m", "tests.integration.store.spooling", str(tmp_path)]
    acknowledged: set[int] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged.add(int(line))
            if len(acknowledged) > 20 + rng.randrange(200):
                process.kill()
                break
        acknowledged |= {int(line) for line in process.stdout.read().splitlines()}
    file = SpoolFile(tmp_path)
    found = [int(entry.request.body.split(b" ")[0]) for entry in file.oldest(0, 1 << 40, 1 << 20)]
    file.close()
    assert file.damage is None
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    file = SpoolFile(whole)
    for number in range(20):
        file.append([request(b"%d" % number * 1000)])
    names = [path.name for path in whole.iterdir()]
    size = (whole / f"{FILE_NAME}-wal").stat().st_size
    counts = []
    for number, cut in enumerate(range(0, size, size // 40)):
        torn = tmp_path / str(number)
        torn.mkdir()
        for name in names:
            (torn / name).write_bytes((whole / name).read_bytes())
        with (torn / f"{FILE_NAME}-wal").open("r+b") as log:
            log.truncate(cut)
        (torn / f"{FILE_NAME}-shm").unlink()
        left = SpoolFile(torn)
        bodies = [entry.request.body for entry in left.oldest(0, 1 << 30, 100)]
        assert bodies == [b"%d" % each * 1000 for each in range(len(bodies))]
        left.append([request(b"goes on")])
        counts.append(len(bodies))
        left.close()
    file.close()
    assert counts == sorted(counts)
    assert counts[-1] >= 18


@pytest.mark.parametrize("damage", ["middle", "all"])
def test_a_damaged_file_is_put_aside_and_what_can_be_read_is_saved(tmp_path: Path, damage: str) -> None:
    file = SpoolFile(tmp_path)
    for number in range(200):
        file.append([request(b"%04d" % number * 500)])
    file.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    start, end = (len(content) // 2, len(content) // 2 + 4096) if damage == "middle" else (0, len(content))
    content[start:end] = random.Random(1).randbytes(end - start)
    path.write_bytes(content)
    repaired = SpoolFile(tmp_path)
    bodies = [entry.request.body for entry in repaired.oldest(0, 1 << 30, 1000)]
    repaired.append([request(b"goes on")])
    repaired.close()
    assert bodies == sorted(set(bodies))
    assert all(body == body[:4] * 500 for body in bodies)
    assert len(bodies) >= (190 if damage == "middle" else 0)
    if damage == "all":
        assert repaired.damage is not None
        assert repaired.damage.kept_as.read_bytes() == bytes(content)


def test_a_body_that_rotted_is_not_stored(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path)
    file.append([request(b"good"), request(b"rotten"), request(b"fine")])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("UPDATE requests SET body = ? WHERE body = ?", (b"rotted", b"rotten"))
    assert [entry.request.body for entry in file.oldest(0, 1000, 10)] == [b"good", b"fine"]
    assert file.waiting == 2
    file.close()
