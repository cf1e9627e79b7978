"""Fixtures of the API tests: the operator, and tenants of a test's own."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api.helpers import Caller, Tenant, caller, found, sign_up
from tests.stack import Stack


@pytest.fixture(scope="session")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def operator(stack: Stack, http: httpx.Client) -> Caller:
    """Whoever holds the service_role key: sees everything, plays the worker."""
    return caller(http, stack.service_role_key)


@pytest.fixture
def new_user(stack: Stack, http: httpx.Client) -> Callable[[], Caller]:
    """Signs a new user up at each call."""
    return lambda: sign_up(http, stack.anon_key)


@pytest.fixture
def tenant(new_user: Callable[[], Caller]) -> Tenant:
    return found(new_user())


@pytest.fixture
def stranger(new_user: Callable[[], Caller]) -> Tenant:
    """A tenant of another organization."""
    return found(new_user())
