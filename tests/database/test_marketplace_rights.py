"""Agents on marketplaces: who may what, what is deleted when, and what cannot be."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, new_name, refused, when_it_waited
from tests.database.market_kit import HEADERS, add_market, done, job, listed, publish, read, settle, take, unpublish


@pytest.fixture
def market(tenant: Tenant) -> str:
    """Give the name of a marketplace of the organization."""
    return str(add_market(tenant, headers=HEADERS)["name"])


# Who may what ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_others_only_see_where_an_agent_is_published(tenant: Tenant, market: str, role: str) -> None:
    reader = tenant.join(role)
    for act in (publish, unpublish):
        with refused("42501", "not_allowed"):
            act(tenant, market, reader)
    publish(tenant, market)
    assert len(reader.rows("select * from public.marketplace_integrations")) == 1
    with refused("42501"):
        reader.insert("marketplace_integrations", agent_slug=tenant.agent, marketplace_name="x")
    with refused("42501"):
        tenant.owner.update("marketplace_integrations", {"agent_slug": tenant.agent}, marketplace_agent_id="victim")


def test_a_stranger_gets_the_answer_of_an_unknown_agent(world: World, tenant: Tenant, market: str) -> None:
    publish(tenant, market)
    eve = world.tenant().owner
    assert eve.rows("select from public.marketplace_integrations") == []
    assert eve.rows("select from public.marketplaces where organization_slug is not null") == []
    for act in (publish, unpublish):
        with refused("PT404", "agent_not_found") as foreign:
            act(tenant, market, eve)
        with refused("PT404", "agent_not_found") as unknown:
            eve.call(f"{act.__name__}_agent", agent_slug="no-such-agent", marketplace_name=market)
        assert foreign.detail.replace(tenant.agent, "no-such-agent") == unknown.detail


def test_another_organizations_marketplace_is_none(world: World, tenant: Tenant, market: str) -> None:
    eve = world.tenant()
    with refused("PT404", "marketplace_not_found"):
        publish(eve, market)
    with refused("PT404", "organization_not_found"):
        publish(eve, market, organization_slug=tenant.slug)
    with refused("42501"):
        add_market(tenant, eve.owner)
    for change in (
        "update public.marketplaces set base_url = 'https://evil.example' where name = %s",
        "delete from public.marketplaces where name = %s",
    ):
        assert eve.owner.execute(change, market) == 0
        assert eve.owner.execute(change, "hyphrki") == 0


def test_a_developer_names_no_marketplace_and_an_admin_does(tenant: Tenant) -> None:
    with refused("42501"):
        add_market(tenant, tenant.join("developer"))
    assert add_market(tenant, tenant.join("admin"))
    with refused("42501"):
        tenant.owner.insert("marketplaces", name=new_name("m"), base_url="https://evil.example")


def test_the_platforms_marketplace_stands_for_all_and_an_organizations_own_goes_before_it(
    tenant: Tenant, worker: Worker
) -> None:
    tenant.owner.call("publish_agent", agent_slug=tenant.agent)
    lease = take(tenant, worker)
    wanted = job(tenant, lease)
    assert (wanted["is_platform"], wanted["base_url"]) == (True, "${MARKETPLACE_HYPHRKI_URL}")
    worker.complete(lease, response_metadata={"marketplace_agent_id": "m-1"})
    settle(tenant, worker, "hyphrki")
    # An id that one marketplace gave is never used at another, where it may be somebody else's.
    add_market(tenant, name="hyphrki")
    with refused("PT409", "agent_published"):
        tenant.owner.call("publish_agent", agent_slug=tenant.agent)
    unpublish(tenant, "hyphrki")
    lease = take(tenant, worker)
    assert job(tenant, lease)["is_platform"] is True
    worker.complete(lease)
    settle(tenant, worker, "hyphrki")
    publish(tenant, "hyphrki")
    wanted = job(tenant, take(tenant, worker))
    assert (wanted["is_platform"], wanted["base_url"]) == (False, "https://market.example/v1")


def test_a_private_agent_is_its_owners_and_goes_to_the_platforms_marketplaces_only(
    tenant: Tenant, worker: Worker, market: str
) -> None:
    maker = tenant.join("member")
    maker.update("users", {"id": maker.id}, organization_slug=tenant.slug)
    mine = tenant.add_agent(organization_slug=[], owner_user_id=maker.id)
    with refused("PT404", "marketplace_not_found"):
        publish(tenant, market, maker, agent_slug=mine)  # it would use the organization's secrets
    with refused("PT404", "agent_not_found"):
        publish(tenant, "hyphrki", agent_slug=mine)
    row = publish(tenant, "hyphrki", maker, agent_slug=mine)
    assert (row["organization_slug"], row["requested_by"]) == (None, maker.id)
    assert job(tenant, take(tenant, worker))["is_platform"] is True
    tenant.world.service.update("users", {"id": maker.id}, status="suspended")
    with refused("PT404", "agent_not_found"):
        publish(tenant, "hyphrki", maker, agent_slug=mine)


def test_of_several_organizations_one_must_be_known(world: World, tenant: Tenant, market: str) -> None:
    other = world.tenant()
    both = other.join("developer", tenant.join("developer"))
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    with refused("42501", "not_allowed"):
        publish(tenant, market, agent_slug=shared)  # the owner of one of the two
    world.service.update("users", {"id": both.id}, organization_slug=None)
    with refused("22023", "organization_missing"):
        publish(tenant, market, both, agent_slug=shared)
    row = publish(tenant, market, both, agent_slug=shared, organization_slug=tenant.slug)
    assert row["organization_slug"] == tenant.slug


def test_what_is_not_there_or_not_active_is_refused(tenant: Tenant, market: str) -> None:
    with refused("PT404", "marketplace_not_found"):
        publish(tenant, "nowhere")
    with refused("PT404", "integration_not_found"):
        unpublish(tenant, market)
    tenant.owner.update("agents", {"slug": tenant.agent}, description="x" * 300_000)
    with refused("PT413", "listing_too_large"):
        publish(tenant, market)
    tenant.owner.update("agents", {"slug": tenant.agent}, description="Writes.", status="draft")
    with refused("PT409", "agent_inactive"):
        publish(tenant, market)
    assert tenant.world.admin.rows("select from public.tasks where organization_slug = %s", tenant.slug) == []


# Deleting -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tenant: Tenant, worker: Worker, market: str) -> str:
    """Give the name of the marketplace on which the agent is published."""
    listed(tenant, worker, market)
    return market


@pytest.mark.parametrize(
    "statement",
    [
        "delete from public.agents where organization_slug = array[%s]",
        "delete from public.organizations where slug = %s",
        "delete from public.marketplaces where organization_slug = %s",
    ],
)
def test_who_deletes_what_is_listed_unpublishes_it_first(
    tenant: Tenant, worker: Worker, published: str, statement: str
) -> None:
    with refused("PT409", "agent_published") as refusal:
        tenant.owner.execute(statement, tenant.slug)
    assert "unpublish_agent" in refusal.hint
    unpublish(tenant, published)
    with refused("PT409", "agent_published"):
        tenant.owner.execute(statement, tenant.slug)  # not before it is done
    done(tenant, worker, published)
    assert tenant.owner.execute(statement, tenant.slug) == 1


def test_an_agent_does_not_leave_the_organization_for_which_it_is_listed(
    world: World, tenant: Tenant, worker: Worker, published: str
) -> None:
    other = world.tenant()
    both = other.join("developer", tenant.join("developer"))
    both.update("agents", {"slug": tenant.agent}, organization_slug=[tenant.slug, other.slug])
    with refused("PT409", "agent_published"):
        both.update("agents", {"slug": tenant.agent}, organization_slug=[other.slug])
    unpublish(tenant, published, both)
    done(tenant, worker, published)
    both.update("agents", {"slug": tenant.agent}, organization_slug=[other.slug])
    assert both.rows("select from public.marketplace_integrations") == []


def test_what_a_server_deletes_is_gone_and_its_listing_stands_in_the_audit(tenant: Tenant, published: str) -> None:
    integration = str(read(tenant, published)["id"])
    tenant.world.service.execute("delete from public.agents where slug = %s", tenant.agent)
    changes = tenant.world.admin.value(
        "select changes from public.audit_logs where row_key = %s and action = 'delete'", integration
    )
    assert changes["marketplace_agent_id"][0] == "m-1"


def test_a_publication_and_the_deletion_of_its_agent_come_one_after_the_other(tenant: Tenant, market: str) -> None:
    def remove(session: Session) -> None:
        session.connection.execute("delete from public.agents where slug = %s", [tenant.agent])

    answer = when_it_waited(tenant.owner, remove, tenant.owner, lambda session: publish(tenant, market, session))
    assert isinstance(answer, psycopg.Error)
    assert answer.diag.message_primary == "agent_not_found"


# What cannot be -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "to"),
    [("new", "published"), ("published", "error"), ("unpublished", "published"), ("unpublished", "error")],
)
def test_illegal_moves_are_refused_for_every_writer(
    tenant: Tenant, worker: Worker, market: str, state: str, to: str
) -> None:
    service = tenant.world.service
    values: Row = {"status": to, "marketplace_agent_id": "m", "error_code": "x"}
    if state == "new":
        place = tenant.world.admin.value("select id from public.marketplaces where name = %s", market)
        with refused("PT409", "illegal_move"):
            service.insert("marketplace_integrations", agent_slug=tenant.agent, marketplace_id=place, **values)
        return
    listed(tenant, worker, market)
    if state == "unpublished":
        service.update("marketplace_integrations", {"agent_slug": tenant.agent}, status="unpublished")
    with refused("PT409", "illegal_move"):
        service.update("marketplace_integrations", {"agent_slug": tenant.agent}, **values)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"status": "gone"}, None),
        ({"marketplace_agent_id": None}, "published_has_id_and_published_at"),
        ({"marketplace_agent_id": "x" * 256}, "names_are_short"),
        ({"usage_metrics": Jsonb([])}, "usage_metrics_is_an_object"),
        ({"usage_metrics": {"x": "y" * 40_000}}, "usage_metrics_are_small"),
    ],
    ids=str,
)
def test_an_impossible_integration_is_refused(
    tenant: Tenant, worker: Worker, market: str, columns: Row, constraint: str | None
) -> None:
    listed(tenant, worker, market)
    with pytest.raises(psycopg.Error) as caught:
        tenant.world.service.update("marketplace_integrations", {"agent_slug": tenant.agent}, **columns)
    assert caught.value.diag.constraint_name == constraint


GET = {"method": "GET", "path": "/a"}


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"name": "Upper"}, "name_is_lower_case_words"),
        ({"base_url": "ftp://market.example"}, "base_url_is_http_or_a_secret"),
        ({"base_url": "https://user:word@market.example"}, "base_url_is_http_or_a_secret"),
        ({"base_url": "https://${HOST}.example"}, "base_url_is_http_or_a_secret"),
        ({"headers": {"x": 1}}, "headers_are_texts"),
        ({"operations": {"publish": GET}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": GET, "more": GET}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "method": "TRACE"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "a"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "//evil/"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "/a/../b"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "/${KEY}"}}}, "operations_name_method_and_path"),
        ({"fields": {"request": {"title": "context"}}}, "fields_are_known"),
        ({"fields": {"id": ""}}, "fields_are_known"),
        ({"fields": {"price": "x"}}, "fields_are_known"),
    ],
    ids=str,
)
def test_an_impossible_marketplace_is_refused(scene: World, columns: Row, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add_market(scene.tenant(), **columns)
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(
    "columns", [{"headers": {"Authorization": "Bearer abc"}}, {"base_url": "https://m.example/${A}"}]
)
def test_a_client_names_credentials_and_writes_none(tenant: Tenant, columns: Row) -> None:
    if "headers" in columns:
        with refused("22023", "credential_is_literal"):
            add_market(tenant, **columns)
        market = add_market(tenant)
        with refused("22023", "credential_is_literal"):
            tenant.owner.update("marketplaces", {"id": market["id"]}, **columns)
    else:
        assert add_market(tenant, **columns)


def test_an_organization_has_at_most_twenty_marketplaces(tenant: Tenant) -> None:
    for _ in range(20):
        add_market(tenant)
    with refused("PT429", "over_limit"):
        add_market(tenant)
