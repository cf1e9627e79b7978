"""Fixtures for every test: the running stack."""

import psycopg
import pytest

from localstack import instance
from localstack.errors import StackError
from tests.stack import Stack, from_environment


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The stack of ./scripts/test; without its variables, the instance `test` if that is up."""
    found = from_environment()
    if found is None:
        try:
            found = from_environment(instance.require("test").environment())
        except StackError:
            pytest.fail("no stack to test on: run ./scripts/test, or ./scripts/stack up --name test", pytrace=False)
    assert found is not None
    try:
        psycopg.connect(found.database_url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        pytest.fail(f"the stack at {found.url} is not up ({error}): run ./scripts/test", pytrace=False)
    return found
