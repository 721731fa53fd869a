"""The byte budget: first come, first served, bounded waits, nothing lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from collector.errors import Overloaded
from collector.receiver.admission import Admission


async def test_room_is_taken_and_given_back() -> None:
    seen: list[int] = []
    admission = Admission(100, observe=seen.append)
    async with admission.seat(60) as first, admission.seat(40):
        assert (first.size, admission.used_bytes) == (60, 100)
    assert admission.used_bytes == 0
    assert seen[:2] == [60, 100]
    assert seen[-1] == 0


async def test_without_room_it_is_refused_after_the_patience() -> None:
    admission = Admission(100, patience_s=0.05)
    async with admission.seat(100):
        with pytest.raises(Overloaded):
            async with admission.seat(1):
                pass
        assert (admission.used_bytes, admission.waiting) == (100, 0)


async def test_larger_than_the_budget_goes_in_alone() -> None:
    admission = Admission(100, patience_s=0.05)
    async with admission.seat(1000):
        with pytest.raises(Overloaded):
            async with admission.seat(1):
                pass
    assert admission.used_bytes == 0


async def test_first_come_first_served() -> None:
    """A small one does not overtake a large one that waits: else the large one would wait for ever."""
    admission, order = Admission(100), list[str]()

    async def enter(name: str, size: int) -> None:
        async with admission.seat(size):
            order.append(name)

    async with admission.seat(60):
        large = asyncio.create_task(enter("large", 90))
        await until(lambda: admission.waiting == 1)
        small = asyncio.create_task(enter("small", 10))
        await until(lambda: admission.waiting == 2)
        assert order == []
    await asyncio.gather(large, small)
    assert order == ["large", "small"]


async def test_several_are_let_in_at_once() -> None:
    admission = Admission(100)
    async with AsyncExitStack() as stack:
        async with admission.seat(100):
            waiting = [asyncio.create_task(stack.enter_async_context(admission.seat(30))) for _ in range(3)]
            await until(lambda: admission.waiting == 3)
        await asyncio.gather(*waiting)
        assert admission.used_bytes == 90


async def test_who_gives_up_leaves_the_line() -> None:
    admission = Admission(100)
    async with admission.seat(60):
        large = asyncio.create_task(enter_and_leave(admission, 90))
        await until(lambda: admission.waiting == 1)
        small = asyncio.create_task(enter_and_leave(admission, 10))
        await until(lambda: admission.waiting == 2)
        large.cancel()
        await small
        assert admission.waiting == 0
    assert admission.used_bytes == 0


async def test_cancelled_in_the_moment_of_being_let_in() -> None:
    admission = Admission(100)
    async with admission.seat(100) as seat:
        task = asyncio.create_task(enter_and_leave(admission, 50))
        await until(lambda: admission.waiting == 1)
        seat.leave()
        task.cancel()
        await asyncio.wait([task])
        assert admission.used_bytes == 0


async def test_growing_seats_do_not_block_each_other() -> None:
    """Two that hold half each and want all: one waits with nothing, the other gets it."""
    admission = Admission(100)
    entered = asyncio.Event()

    async def grow() -> None:
        async with admission.seat(50) as seat:
            if admission.used_bytes == 100:
                entered.set()
            await entered.wait()
            await seat.resize(100)

    async with asyncio.timeout(2):
        await asyncio.gather(grow(), grow())
    assert admission.used_bytes == 0


async def test_shrinking_lets_others_in() -> None:
    admission = Admission(100)
    async with admission.seat(100) as seat:
        task = asyncio.create_task(enter_and_leave(admission, 50))
        await until(lambda: admission.waiting == 1)
        await seat.resize(50)
        await task
        assert (admission.used_bytes, admission.waiting) == (50, 0)


async def test_a_moved_seat_has_one_owner() -> None:
    admission = Admission(100)
    async with admission.seat(40) as seat:
        moved = seat.move()
    assert admission.used_bytes == 40
    moved.leave()
    moved.leave()
    assert admission.used_bytes == 0


async def test_all_waits_of_a_request_share_one_patience() -> None:
    admission = Admission(100, patience_s=0.3)
    clock = asyncio.get_running_loop().time
    async with admission.seat(100) as first:
        began = clock()
        task = asyncio.create_task(patient(admission))
        await until(lambda: admission.waiting == 1)
        await asyncio.wait([task], timeout=0.15)
        await first.resize(95)
        with pytest.raises(Overloaded):
            await task
        assert clock() - began < 0.45


async def patient(admission: Admission) -> None:
    async with admission.seat(5) as seat:
        await seat.resize(50)


async def enter_and_leave(admission: Admission, size: int) -> None:
    async with admission.seat(size):
        pass


async def until(condition: object) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0)
