"""Marketplaces with a real worker and a real marketplace on 127.0.0.1, kind and unkind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stack import Stack
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from tests.workers.conftest import Lab, laboratory
from tests.workers.waiting import Row, wait_for
from workers.keyring import Keyring, new_key

KEY = new_key()
TOKEN = "the-organizations-market-token"
OPERATORS = "the-operators-own-market-token"
HEADERS = {"X-Api-Key": "${MARKET_TOKEN}"}


class Market:
    """A marketplace that keeps what it lists, dedupes by Idempotency-Key, and fails as `troubles` say first."""

    def __init__(self) -> None:
        self.agents: dict[str, Any] = {}
        self.by_key: dict[str, str] = {}
        self.troubles: list[Reply] = []
        self.usage: Any = {"calls": 7, "revenue": {"usd": 1.5}}

    def answer(self, seen: Seen) -> Reply:
        if self.troubles:
            return self.troubles.pop(0)
        if seen.headers.get("x-api-key", seen.headers.get("authorization")) not in {TOKEN, f"Bearer {OPERATORS}"}:
            return json_reply({"error": "who are you"}, 401)
        _, kind, *rest = seen.path.split("/")
        assert kind == "agents"
        if not rest:
            return self.list_agent(seen)
        return self.about(rest[0], seen) if rest[0] in self.agents else json_reply({"error": "gone"}, 404)

    def about(self, name: str, seen: Seen) -> Reply:
        if seen.method == "GET":
            return json_reply(self.usage)
        if seen.method == "DELETE":
            del self.agents[name]
        else:
            self.agents[name] = seen.json
        return Reply(204)

    def list_agent(self, seen: Seen) -> Reply:
        name = self.by_key.setdefault(seen.headers["idempotency-key"], f"listing-{len(self.by_key) + 1}")
        self.agents[name] = seen.json
        return json_reply({"id": name}, 201)


@pytest.fixture(scope="module")
def hall(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Server, list[Market]]]:
    """Give an organization with a worker, and a server for whichever marketplace stands in the list."""
    markets = [Market()]
    with (
        serve(lambda seen: markets[-1].answer(seen)) as server,  # noqa: PLW0108 - the last one changes
        laboratory(stack, f"market-{time.time_ns()}", tmp_path_factory.mktemp("market")) as lab,
    ):
        lab.post("organization_members", organization_slug=lab.organization, user_id=lab.user_id, role="owner")
        ciphertext = Keyring([KEY]).encrypt(TOKEN)
        lab.post(
            "rpc/set_organization_secret",
            organization_slug=lab.organization,
            name="MARKET_TOKEN",
            ciphertext=ciphertext,
        )
        lab.start_worker(
            "--concurrency",
            "4",
            ORCHESTRATOR_SECRETS_KEY=KEY,
            MARKETPLACE_HYPHRKI_URL=server.url,
            MARKETPLACE_HYPHRKI_TOKEN=OPERATORS,
            LLM_OFFLINE="1",
        )
        yield lab, server, markets


class Stand:
    """An agent and a marketplace of the organization, fresh for a test."""

    def __init__(self, lab: Lab, server: Server, market: Market, **columns: Any) -> None:
        self.lab, self.server, self.market = lab, server, market
        self.agent = lab.add_agent(description="Writes about tide pools", context="THE-PROMPT")
        self.name = f"m-{time.time_ns()}"
        row = {"organization_slug": lab.organization, "name": self.name, "base_url": server.url, "headers": HEADERS}
        lab.post("marketplaces", **{**row, **columns})
        self.began = len(server.seen)

    def call(self, function: str) -> Row:
        row: Row = self.lab.post(f"rpc/{function}", agent_slug=self.agent, marketplace_name=self.name)
        return row

    def row(self) -> Row:
        query = "select * from public.marketplace_integrations where agent_slug = %s and marketplace_name = %s"
        row = self.lab.sql.execute(query, (self.agent, self.name)).fetchone()
        assert row is not None
        return row

    def until(self, condition: Callable[[Row], bool], what: str) -> Row:
        """Wait for the integration; let nothing wait for its next attempt or look."""

        def arrived() -> Row | None:
            row = self.row()
            if condition(row):
                return row
            self.lab.sql.execute(
                "update public.tasks set scheduled_at = now() where id = %s and status = 'pending' and attempt > 0"
                " and scheduled_at > now()",
                (row["task_id"],),
            )
            self.look()
            return None

        found = wait_for(arrived, 30, what)
        assert found is not None
        return found

    def look(self) -> None:
        self.lab.sql.execute(
            "update public.marketplace_integrations set look_at = now() where agent_slug = %s and action is not null"
            " and look_at > now()",
            (self.agent,),
        )

    def status(self, status: str) -> Row:
        return self.until(lambda row: row["status"] == status, f"the integration is {status}")

    @property
    def seen(self) -> list[Seen]:
        return self.server.seen[self.began :]


@pytest.fixture
def stand(hall: tuple[Lab, Server, list[Market]]) -> Stand:
    lab, server, markets = hall
    markets.append(Market())
    return Stand(lab, server, markets[-1])


# With a real worker ---------------------------------------------------------------------------------------------------


def test_an_agent_is_published_changed_counted_and_taken_off(stand: Stand) -> None:
    stand.call("publish_agent")
    row = stand.status("published")
    assert row["marketplace_agent_id"] == "listing-1"
    (listing,) = stand.market.agents.values()
    assert (listing["name"], listing["slug"], listing["external_id"]) == ("Writer", stand.agent, str(row["id"]))
    assert listing["card"]["skills"][0]["id"] == "writing"
    assert "THE-PROMPT" not in json.dumps(listing)
    assert "claude" not in json.dumps(listing)

    stand.lab.sql.execute("update public.agents set description = 'Better' where slug = %s", (stand.agent,))
    stand.call("publish_agent")
    stand.status("published")
    assert stand.market.agents["listing-1"]["description"] == "Better"

    stand.lab.sql.execute(  # an hour later
        "update public.marketplace_integrations set look_at = now() where agent_slug = %s", (stand.agent,)
    )
    row = stand.until(lambda row: row["usage_fetched_at"] is not None, "usage is fetched")
    assert row["usage_metrics"] == {"calls": 7, "revenue": {"usd": 1.5}}
    assert [seen.method for seen in stand.seen] == ["POST", "PUT", "GET"]

    stand.call("unpublish_agent")
    row = stand.status("unpublished")
    assert (row["marketplace_agent_id"], stand.market.agents) == (None, {})
    keys = [seen.headers.get("idempotency-key") for seen in stand.seen]
    assert keys == [f"{row['id']}.1", f"{row['id']}.2", None, f"{row['id']}.3"]
    stand.lab.sql.execute("delete from public.agents where slug = %s", (stand.agent,))


def test_a_marketplace_in_trouble_is_asked_again_under_the_same_key_and_lists_once(stand: Stand) -> None:
    # The second time the answer is lost after the marketplace has listed the agent.
    stand.market.troubles = [Reply(503), Reply(429, {"Retry-After": "1"}), Reply(raw=b"")]
    stand.call("publish_agent")
    stand.status("published")
    assert len({seen.headers["idempotency-key"] for seen in stand.seen}) == 1
    assert (len(stand.seen), len(stand.market.agents)) == (4, 1)


def test_a_dead_marketplace_is_tried_six_times_and_then_an_error(stand: Stand) -> None:
    stand.market.troubles = [Reply(500, {}, [b"on fire"])] * 6
    stand.call("publish_agent")
    row = stand.status("error")
    assert row["error_code"] == "marketplace_unavailable"
    assert row["error_message"] == "The marketplace answered with status 500: on fire."
    assert len(stand.seen) == 6
    stand.call("publish_agent")  # it is back
    row = stand.status("published")
    assert (row["revision"], row["error_code"]) == (1, None)


def test_a_refusal_is_an_error_at_once_and_repeats_no_secret(stand: Stand) -> None:
    stand.market.troubles = [Reply(422, {}, [f"bad key {TOKEN}, bad agent".encode()])]
    stand.call("publish_agent")
    row = stand.status("error")
    assert row["error_code"] == "marketplace_refused"
    assert row["error_message"] == "The marketplace refused the request (status 422): bad key [redacted], bad agent"
    assert len(stand.seen) == 1


def test_the_platforms_marketplace_is_asked_with_the_operators_token_alone(
    hall: tuple[Lab, Server, list[Market]],
) -> None:
    lab, server, markets = hall
    markets.append(Market())
    stand = Stand(lab, server, markets[-1])
    stand.name = "hyphrki"
    stand.call("publish_agent")
    stand.status("published")
    (seen,) = stand.seen
    assert seen.headers["authorization"] == f"Bearer {OPERATORS}"
    stand.market.troubles = [Reply(400, {}, [f"no {OPERATORS}".encode()])]
    stand.call("unpublish_agent")
    assert stand.status("error")["error_message"].endswith("(status 400): no [redacted]")


def test_an_organization_cannot_have_the_operators_token_sent_anywhere(
    hall: tuple[Lab, Server, list[Market]],
) -> None:
    lab, server, markets = hall
    markets.append(Market())
    stand = Stand(lab, server, markets[-1], headers={"Authorization": "Bearer ${MARKETPLACE_HYPHRKI_TOKEN}"})
    stand.call("publish_agent")
    row = stand.status("error")
    assert row["error_code"] == "marketplace_misconfigured"
    assert "MARKETPLACE_HYPHRKI_TOKEN" in row["error_message"]
    assert stand.seen == []


def test_fields_and_paths_are_those_of_the_configuration(hall: tuple[Lab, Server, list[Market]]) -> None:
    lab, server, markets = hall

    class Strange(Market):
        def answer(self, seen: Seen) -> Reply:
            return json_reply({"data": {"ref": 42}}) if seen.method == "POST" else Reply(200)

    markets.append(Strange())
    stand = Stand(
        lab,
        server,
        markets[-1],
        operations={
            "publish": {"method": "POST", "path": "/v2/items?of={slug}"},
            "unpublish": {"method": "POST", "path": "/v2/items/{id}/remove/{integration_id}"},
        },
        fields={"id": "data.ref", "request": {"title": "name", "about.text": "description", "skills": "card.skills"}},
    )
    stand.call("publish_agent")
    row = stand.status("published")
    assert row["marketplace_agent_id"] == "42"
    (seen,) = stand.seen
    assert seen.path == f"/v2/items?of={stand.agent}"
    assert seen.json["title"] == "Writer"
    assert seen.json["about"] == {"text": "Writes about tide pools"}
    assert set(seen.json) == {"title", "about", "skills"}
