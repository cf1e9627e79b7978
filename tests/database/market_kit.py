"""Marketplaces in tests: adding one, asking it for things, and being the worker that does them."""

from __future__ import annotations

from typing import Any

from tests.database.kit import Row, Session, Tenant, Worker, new_name
from tests.database.pauses import reap

METHODS = ["publish_agent", "unpublish_agent", "fetch_marketplace_usage"]
HEADERS = {"Authorization": "Bearer ${MARKET_TOKEN}"}


def add_market(tenant: Tenant, session: Session | None = None, **columns: Any) -> Row:
    """Add a marketplace of the organization, as its owner unless said otherwise."""
    row = {"organization_slug": tenant.slug, "name": new_name("m"), "base_url": "https://market.example/v1", **columns}
    return (session or tenant.owner).insert("marketplaces", **row)


def publish(tenant: Tenant, market: str, session: Session | None = None, **arguments: Any) -> Row:
    asked = {"agent_slug": tenant.agent, "marketplace_name": market, **arguments}
    row: Row = (session or tenant.owner).call("publish_agent", **asked)
    return row


def unpublish(tenant: Tenant, market: str, session: Session | None = None) -> Row:
    asked = {"agent_slug": tenant.agent, "marketplace_name": market}
    row: Row = (session or tenant.owner).call("unpublish_agent", **asked)
    return row


def read(tenant: Tenant, market: str) -> Row:
    query = "select * from public.marketplace_integrations where agent_slug = %s and marketplace_name = %s"
    return tenant.world.admin.row(query, tenant.agent, market)


def take(tenant: Tenant, worker: Worker) -> Row:
    """Claim the task of the integration."""
    return worker.claim_one(tenant, methods=METHODS)


def job(tenant: Tenant, lease: Row) -> Any:
    """Read what is to be done, as the worker that holds the task."""
    integration = lease["task"]["params"]["integration_id"]
    return tenant.world.service.call(
        "read_marketplace_job", integration_id=integration, lease_token=lease["lease_token"]
    )


def settle(tenant: Tenant, worker: Worker, market: str) -> Row:
    """Let the reaper look at the integration."""
    tenant.world.admin.execute(
        "update public.marketplace_integrations set look_at = now() - interval '1 day' where agent_slug = %s"
        " and look_at is not null",
        tenant.agent,
    )
    reap(worker)
    return read(tenant, market)


def done(tenant: Tenant, worker: Worker, market: str, **metadata: Any) -> Row:
    """Do what is asked, with success."""
    assert worker.complete(take(tenant, worker), response="", response_metadata=metadata) == "ok"
    return settle(tenant, worker, market)


def failed(tenant: Tenant, worker: Worker, market: str, code: str = "marketplace_refused", **more: Any) -> Row:
    assert worker.fail(take(tenant, worker), error_code=code, error_message="No.", **more) == "ok"
    return settle(tenant, worker, market)


def listed(tenant: Tenant, worker: Worker, market: str) -> Row:
    """Publish the agent, under the id "m-1"."""
    publish(tenant, market)
    return done(tenant, worker, market, marketplace_agent_id="m-1")
