"""How streams look for news: one request for many, nobody crowded out, slow readers asked no more, outages sat out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from a2a.utils.errors import InternalError

from workers.a2a import follow
from workers.a2a.caller import Identity
from workers.a2a.database import Row
from workers.a2a.follow import Followers, Leaving
from workers.errors import BackendRefused, BackendUnavailable

ME, YOU = Identity("token-of-me", "me"), Identity("token-of-you", "you")


class FakeDatabase:
    """Holds events by task and keeps the requests that were made; fails while `error` is set."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.asked: list[tuple[Identity, dict[str, int]]] = []
        self.error: Exception | None = None

    async def rows(self, who: Identity, table: str, query: Mapping[str, str]) -> list[Row]:
        assert (table, query["order"]) == ("task_events", "id")
        found = re.findall(r"and\(task_id\.eq\.([\w-]+),sequence\.gt\.(\d+)\)", query["or"])
        after = {task: int(sequence) for task, sequence in found}
        self.asked.append((who, after))
        if self.error is not None:
            raise self.error
        rows = [
            {"task_id": task, "sequence": sequence}
            for task, sequence in self.events
            if task in after and sequence > after[task]
        ]
        return rows[: int(query["limit"])]


def followers(database: FakeDatabase, most: int = 100, most_per_user: int = 100) -> Followers:
    return Followers(database, interval=0.01, most=most, most_per_user=most_per_user)  # type: ignore[arg-type]


async def test_all_that_one_user_follows_is_one_request() -> None:
    database = FakeDatabase()
    many = followers(database)
    with ExitStack() as stack:
        mine = [stack.enter_context(many.follow(ME, f"task-{number}", 0)) for number in range(20)]
        stack.enter_context(many.follow(YOU, "task-0", 5))
        database.events = [(f"task-{number}", 1) for number in range(20)]
        heard = await asyncio.gather(*(follower.next(5) for follower in mine))
    assert [rows[0]["task_id"] for rows in heard] == [f"task-{number}" for number in range(20)]
    assert {who: set(after) for who, after in database.asked[:2]} == {
        ME: {f"task-{number}" for number in range(20)},
        YOU: {"task-0"},
    }
    before = len(database.asked)
    await asyncio.sleep(0.05)
    assert len(database.asked) <= before + 1, "nobody follows any more"


async def test_a_reader_that_takes_nothing_is_not_asked_for_again_and_misses_nothing() -> None:
    database = FakeDatabase()
    database.events = [("slow", 1)]
    with followers(database).follow(ME, "slow", 0) as slow:
        await asyncio.sleep(0.1)
        assert [after for _, after in database.asked] == [{"slow": 0}]
        database.events += [("slow", 2), ("slow", 3)]
        assert [row["sequence"] for row in await slow.next(5)] == [1]
        assert [row["sequence"] for row in await slow.next(5)] == [2, 3]


async def test_more_tasks_than_one_request_names_all_move() -> None:
    database = FakeDatabase()
    many = followers(database, 1000, 1000)
    with ExitStack() as stack:
        mine = [stack.enter_context(many.follow(ME, f"task-{number}", 0)) for number in range(120)]
        database.events = [(f"task-{number}", 1) for number in range(120)]
        assert len(await asyncio.gather(*(follower.next(5) for follower in mine))) == 120
    assert max(len(after) for _, after in database.asked) == 50


async def test_an_outage_is_sat_out_and_a_long_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    database = FakeDatabase()
    database.error = BackendUnavailable("away")
    with followers(database).follow(ME, "task", 0) as follower:
        await asyncio.sleep(0.05)
        database.error = None
        database.events = [("task", 1)]
        assert await follower.next(5)
        monkeypatch.setattr(follow, "_PATIENCE", 0.05)
        database.error = BackendUnavailable("away")
        with pytest.raises(BackendUnavailable):
            await follower.next(5)


async def test_a_token_that_expires_ends_the_streams_of_its_user_only() -> None:
    database = FakeDatabase()
    many = followers(database)
    with many.follow(ME, "task", 0) as mine:
        database.error = BackendRefused("expired")
        with pytest.raises(BackendRefused):
            await mine.next(5)
        database.error = None
        database.events = [("task", 1)]
        with many.follow(YOU, "task", 0) as yours:
            assert await yours.next(5)


async def test_seats_are_counted_by_user_and_given_back() -> None:
    many = followers(FakeDatabase(), most=3, most_per_user=2)
    with many.seat(ME), many.seat(ME):
        with pytest.raises(InternalError, match="2 tasks already"), many.seat(Identity("another token", "me")):
            pass
        with many.seat(YOU), pytest.raises(InternalError, match="as many tasks as it can"), many.seat(YOU):
            pass
    with many.seat(ME), many.seat(ME):
        pass


async def test_leaving_ends_everybody_after_what_they_were_given() -> None:
    database = FakeDatabase()
    database.events = [("task", 1)]
    many = followers(database)
    with many.follow(ME, "task", 0) as follower:
        await asyncio.sleep(0.03)
        many.leave()
        assert await follower.next(5)
        with pytest.raises(Leaving):
            await follower.next(5)
        with pytest.raises(Leaving), many.follow(YOU, "task", 0):
            pass
        with pytest.raises(InternalError, match="restarting"), many.seat(YOU):
            pass
