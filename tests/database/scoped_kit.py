"""An organization's own worker as the database sees it: the role, and the claims of a token."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Connection, Row, Session, Tenant

ROLE = "organization_worker"


@dataclass(frozen=True)
class Scoped(Session):
    """A session whose token has these claims, the role included."""

    claims: Row = field(default_factory=dict)

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Generator[Connection]:
        with self.connection.transaction(force_rollback=not keep):
            self.connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),"
                " set_config('orchestrator.clock_offset', %s, true)",
                (self.role, json.dumps({"role": self.role, **self.claims}), self.clock_offset),
            )
            yield self.connection

    def report(self, function: str, *items: Any, worker_id: str = "w") -> list[str]:
        """Report a list of items and return their outcomes in order."""
        answer = self.call(f"scoped_{function}", worker_id=worker_id, items=Jsonb(list(items)))
        return [outcome["outcome"] for outcome in answer]

    def claim(self, max_tasks: int = 1, worker_id: str = "w", **arguments: Any) -> list[Row]:
        leases: list[Row] = self.call("scoped_claim_tasks", worker_id=worker_id, max_tasks=max_tasks, **arguments)
        return leases


def token(tenant: Tenant, minutes: int = 60) -> Row:
    """Register a token for an organization's own worker."""
    row: Row = tenant.world.service.call(
        "create_worker_token", organization_slug=tenant.slug, name="a worker", minutes=minutes
    )
    return row


def scoped(tenant: Tenant, **claims: Any) -> Scoped:
    """Give a worker of the organization; `claims` differ from those of a good token."""
    good = {"organization_slug": tenant.slug, "jti": claims.pop("jti", None) or token(tenant)["id"]}
    return Scoped(tenant.world.dsn, tenant.world.connection, ROLE, claims={**good, **claims})
