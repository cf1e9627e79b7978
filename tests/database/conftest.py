"""Fixtures of the database tests: a world that cleans up, an organization in it, a worker."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import pytest

from tests.database.kit import SPARE, Connection, Tenant, Worker, World, connect


class HasDatabase(Protocol):
    """What these tests need of the session's `stack` fixture."""

    @property
    def database_url(self) -> str: ...


@pytest.fixture(scope="session")
def dsn(stack: HasDatabase) -> str:
    return stack.database_url


@pytest.fixture(scope="session")
def connection(dsn: str) -> Generator[Connection]:
    with connect(dsn) as opened:
        yield opened
    SPARE.close()


@pytest.fixture(scope="module")
def scene(dsn: str, connection: Connection) -> Generator[World]:
    """Give a world that one module's tests read together; they leave it as it was."""
    world = World(dsn, connection)
    yield world
    world.close()


@pytest.fixture
def world(dsn: str, connection: Connection) -> Generator[World]:
    world = World(dsn, connection)
    yield world
    world.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


@pytest.fixture
def worker(world: World) -> Worker:
    return world.worker()
