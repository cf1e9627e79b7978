"""Marketplaces with a real worker and a real marketplace on 127.0.0.1, kind and unkind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.stack import Stack
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from tests.workers.conftest import Lab, Row, laboratory, wait_for
from workers.backend import Backend
from workers.contract import ClaimedTask, Completion, TaskRow
from workers.door import Door
from workers.errors import BackendUnavailable, TaskFailure
from workers.job import Job
from workers.keyring import Keyring, new_key
from workers.marketplaces import Marketplaces
from workers.reports import ReportQueue
from workers.secrets import Secrets

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


# Marketplaces of every kind, without waiting for a worker's times -----------------------------------------------------


class Database:
    """Answers read_marketplace_job and read_organization_secrets as the database does; the real one is asked above."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        if function == "read_organization_secrets":
            return [{"name": name, "value": TOKEN} for name in arguments["names"] if name == "MARKET_TOKEN"]
        assert (function, arguments) == ("read_marketplace_job", {"integration_id": "i", "lease_token": "token"})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


PATHS = {"publish": ("POST", "/agents"), "unpublish": ("DELETE", "/agents/{id}"), "fetch_usage": ("GET", "/use/{id}")}


def wanted(url: str, action: str = "publish", **changes: Any) -> Row:
    method, path = PATHS[action]
    known = {
        "action": action,
        "agent_slug": "writer",
        "marketplace_agent_id": None if action == "publish" else "m-1",
        "marketplace_name": "m",
        "is_platform": False,
        "base_url": url,
        "headers": HEADERS,
        "fields": {},
        "operation": {"method": method, "path": path},
        "updates": False,
        "idempotency_key": "i.1",
        "listing": {"name": "Writer", "card": {"skills": []}} if action == "publish" else None,
    }
    return {**known, **changes}


async def act(answer: Any, *, seconds: float = 5.0, hosts: tuple[str, ...] | None = None) -> Completion:
    method = {"unpublish": "unpublish", "fetch_usage": "fetch_usage"}.get(
        answer["action"] if isinstance(answer, dict) else "", "publish"
    )
    task = TaskRow("t", "acme", "publish_agent", "Publish", 6, params={"integration_id": "i"})
    database: Backend = Database(answer)  # type: ignore[assignment]  # handlers use nothing else of it
    async with Door(allow_private=True) as door:
        marketplaces = Marketplaces(door, database, Secrets(database), {"MARKETPLACE_URL": "x"}, timeout=seconds)
        job = Job(ClaimedTask(task, None, 1, "token", allowed_hosts=hosts), ReportQueue(lambda: None))
        completion: Completion = await getattr(marketplaces, method)(job)
        return completion


async def failure(answer: Any, **changes: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await act(answer, **changes)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"id": null}',
        b'{"id": ""}',
        b'{"id": true}',
        b'{"id": {"x": 1}}',
        b'{"id": ".."}',
        b'{"id": " x"}',
        b'{"id": "a\\u0000b"}',
        b'{"id": "' + b"x" * 256 + b'"}',
        b'{"id": NaN}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"id": "\xff"}',
    ],
    ids=lambda body: repr(body[:14]),
)
async def test_an_answer_without_an_id_is_invalid(body: bytes) -> None:
    with serve(lambda _seen: Reply(200, {}, [body])) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable) == ("marketplace_answer_invalid", False)


async def test_a_huge_answer_is_not_read() -> None:
    with serve(lambda _seen: Reply(200, {}, [b" " * 100_000] * 100)) as server:
        failed = await failure(wanted(server.url))
    assert failed.code == "marketplace_answer_invalid"


@pytest.mark.parametrize("usage", [[], {"x": "y" * 20_000}, None, "text"], ids=["list", "large", "nothing", "text"])
async def test_usage_is_a_small_object_or_invalid(usage: Any) -> None:
    with serve(lambda _seen: json_reply({"data": usage})) as server:
        failed = await failure(wanted(server.url, "fetch_usage", fields={"usage": "data"}))
    assert failed.code == "marketplace_answer_invalid"


async def test_usage_may_lie_deeper_and_is_made_storable() -> None:
    reply = Reply(200, {}, [b'{"data": {"now": {"name": "a\\u0000b", "calls": 1}}}'])
    with serve(lambda _seen: reply) as server:
        done = await act(wanted(server.url, "fetch_usage", fields={"usage": "data.now"}))
    assert done.response_metadata == {"usage": {"name": "a�b", "calls": 1}}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_trouble_that_passes_is_tried_again(status: int) -> None:
    with serve(lambda _seen: Reply(status, {"Retry-After": "7"})) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable, failed.retry_after) == ("marketplace_unavailable", True, 7.0)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    with serve(lambda _seen: Reply(status, {"Location": "http://127.0.0.1:1/"}, [b"no\x00pe"])) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable, failed.data) == ("marketplace_refused", False, {"status": status})


@pytest.mark.parametrize("status", [404, 410])
async def test_what_is_not_there_any_more(status: int) -> None:
    with serve(lambda _seen: Reply(status)) as server:
        assert (await act(wanted(server.url, "unpublish"))).response == "Unpublished."
        changed = wanted(server.url, marketplace_agent_id="m-1", updates=True)
        assert (await failure(changed)).code == "marketplace_listing_gone"
        assert (await failure(wanted(server.url, "fetch_usage"))).code == "marketplace_refused"


@pytest.mark.parametrize(
    "reply", [Reply(delay=30), Reply(raw=b""), Reply(raw=b"garbage\r\n\r\n"), Reply(cut=True, chunks=[b"{"])]
)
async def test_a_marketplace_that_does_not_answer_is_unavailable(reply: Reply) -> None:
    with serve(lambda _seen: reply) as server:
        failed = await failure(wanted(server.url), seconds=0.4)
    assert (failed.code, failed.retryable) == ("marketplace_unavailable", True)


async def test_the_id_stays_one_part_of_the_path_and_is_no_placeholder() -> None:
    with serve(lambda _seen: Reply(204)) as server:
        await act(wanted(server.url, "unpublish", marketplace_agent_id="a/../b?c#${MARKET_TOKEN}"))
    assert server.seen[0].path == "/agents/a%2F..%2Fb%3Fc%23%24%7BMARKET_TOKEN%7D"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"headers": {"X": "${NO_SUCH}"}}, "NO_SUCH"),
        ({"headers": {"Host": "x"}}, "Host"),
        ({"headers": {"X": "a\r\nb"}}, "HTTP forbids"),
        ({"is_platform": True}, "MARKET_TOKEN"),
        ({"fields": {"request": {"a": "name", "a.b": "name"}}}, "a.b"),
    ],
)
async def test_a_configuration_that_cannot_be_used_says_why_and_sends_nothing(changes: Row, said: str) -> None:
    with serve(lambda _seen: Reply(200)) as server:
        failed = await failure(wanted(server.url, **changes))
    assert (failed.code, failed.retryable) == ("marketplace_misconfigured", False)
    assert said in failed.message
    assert TOKEN not in failed.message
    assert server.seen == []


async def test_the_guarded_door_holds_for_marketplaces_too() -> None:
    with serve(lambda _seen: Reply(200)) as server:
        failed = await failure(wanted(server.url), hosts=("api.acme.com",))
    assert (failed.code, failed.retryable, server.seen) == ("host_not_allowed", False, [])


async def test_a_database_that_is_away_is_tried_again_and_nothing_to_do_is_no_failure() -> None:
    failed = await failure(BackendUnavailable("away"))
    assert (failed.code, failed.retryable) == ("internal_error", True)
    assert (await act(None)).response_metadata == {}
