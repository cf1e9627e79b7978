"""Stacks for the tests of the stack itself; none of them is the one that ./scripts/test runs on."""

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.scripts.scratch import Scratch, write_project


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A stack that is up; a test that stops something of it starts it again."""
    stack = Scratch(f"scratch-{os.getpid()}", write_project(tmp_path_factory.mktemp("project")))
    try:
        stack.run("up")
        yield stack
    finally:
        stack.run("down", "--delete")


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A stack that was never started."""
    stack = Scratch(f"fresh-{os.getpid()}", write_project(tmp_path_factory.mktemp("project")))
    try:
        yield stack
    finally:
        stack.run("down", "--delete")


@pytest.fixture
def keys(scratch: Scratch) -> dict[str, str]:
    return scratch.env()


@pytest.fixture
def client(keys: dict[str, str]) -> Iterator[httpx.Client]:
    """HTTP to the gateway, without any key."""
    with httpx.Client(base_url=keys["SUPABASE_URL"], timeout=30) as made:
        yield made
