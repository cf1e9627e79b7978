"""Two organizations with a row in every table: the owner of the one asks for what is the other's in every way.

isolation.test.mjs does the same for the tables of tasks and tenancy; here are those of agents, people, projects,
workflows and logs. What is read is first read by the victim's owner: otherwise it would prove nothing.

Over 400 lines, because all ways are tried in one scene, and each must leave it as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.api.access_rows import KINDS
from tests.api.access_scene import Scene, furnish
from tests.api.helpers import Caller, Json, assert_refused, ok
from tests.stack import Stack

TABLES = (
    "agent_versions",
    "container_resources",
    "marketplaces",
    "marketplace_integrations",
    "agent_repositories",
    "git_agents",
    "git_credentials",
    "organization_secrets",
    "input_requests",
    "task_assignments",
    "task_comments",
    "schedules",
    "projects",
    "project_steps",
    "workflows",
    "workflow_executions",
    "run_steps",
    "workflow_data",
    "orchestrator_agents",
    "agent_instances",
    "prompts",
    "agent_logs",
    "system_logs",
    "audit_logs",
    "queue_pauses",
    "worker_tokens",
    "agent_containers",
    "recent_conversations",
    "active_tasks",
    "agent_activity",
    "agent_metrics",
    "performance_logs",
    "project_progress",
    "organization_usage",
    "queue_health",
    "dead_letters",
)
OF_THE_ORGANIZATION = {
    "agent_containers",
    "agent_versions",
    "container_resources",
    "marketplaces",
    "marketplace_integrations",
    "system_logs",
}


def whose(table: str) -> str:
    return "organization" if table in OF_THE_ORGANIZATION else "colleague"


@dataclass(frozen=True)
class Attack:
    """The victim's organization, its owner, and Eve, who owns another with an agent and a workflow in it."""

    victim: Scene
    owner: Caller
    eve: Caller
    own: dict[str, str]

    def id(self, table: str) -> str:
        return str(self.victim.row(table, whose(table))["id"])

    @property
    def agent(self) -> str:
        return str(self.victim.row("agents", "organization")["slug"])

    def rows(self) -> str:
        """Return all of the victim's rows as the operator sees them."""
        found = {table: self.victim.found(table, self.victim.row(table, whose(table))) for table in TABLES}
        return json.dumps(found, sort_keys=True)


@pytest.fixture(scope="module")
def attack(stack: Stack, http: httpx.Client) -> Iterator[Attack]:
    rows = [("agents", "organization"), *((table, whose(table)) for table in TABLES)]
    victim = furnish(stack, http, KINDS, rows)
    eve = victim.people["outsider"]
    slug = ok(eve.get("organizations"))[0]["slug"]
    agent = {**KINDS["agents"].row(victim, "organization"), "organization_slug": [slug]}
    ok(eve.insert("agents", agent))
    begun = {"organization_slug": slug, "agent_slug": agent["slug"]}
    conversation = ok(eve.insert("agent_conversations", begun))[0]["id"]
    own = {"organization_slug": slug, "agent_slug": agent["slug"], "conversation_id": conversation}
    own["task"] = ok(eve.insert("tasks", {**begun, "method": "converse", "prompt": "Hello"}))[0]["id"]
    own["workflow"] = ok(eve.insert("workflows", {**begun, **WORKFLOW}))[0]["id"]
    yield Attack(victim, victim.people["owner"], eve, own)
    victim.close()


REMOTE = {"endpoint": {"url": "https://n8n.example.com/webhook/w"}}
WORKFLOW = {"name": "w", "workflow_data": REMOTE, "workflow_type": "code", "framework": "n8n"}


@pytest.fixture
def unharmed(attack: Attack) -> Iterator[Attack]:
    """The same, and whatever the test does must leave the victim's rows as they were."""
    before = attack.rows()
    yield attack
    assert attack.rows() == before


@pytest.mark.parametrize("table", TABLES)
def test_no_filter_and_no_count_reaches_anothers_row(attack: Attack, table: str) -> None:
    scene = attack.victim
    columns, key = KINDS[table].columns, scene.key(table, scene.row(table, whose(table)))
    (column, value), *_ = key.items()
    queries = [key, {"or": f"({column}.{value},{column}.not.is.null)"}, {"not.and": f"({column}.is.null)"}]
    for query in queries:
        for caller, sees in ((attack.owner, True), (attack.eve, False)):
            found = [row[column] for row in ok(caller.get(table, select=columns, **query))]
            assert (scene.row(table, whose(table))[column] in found) == sees
    for caller, expected in ((attack.owner, "1"), (attack.eve, "0")):
        counted = scene.http.head(
            f"/rest/v1/{table}",
            params={"select": column, **key},
            headers={**caller.headers, "Prefer": "count=exact"},
        )
        assert counted.headers["content-range"].endswith(f"/{expected}")


# From the first table to the second, and back; hints where there are several ways.
EMBEDDINGS = [
    ("agents", "agent_versions"),
    ("agents", "container_resources"),
    ("agents", "marketplace_integrations"),
    ("organizations", "agent_repositories"),
    ("agent_repositories", "git_agents"),
    ("tasks", "input_requests"),
    ("tasks", "task_assignments"),
    ("tasks", "task_comments"),
    ("organizations", "schedules"),
    ("agent_conversations", "projects"),
    ("projects", "project_steps"),
    ("agents", "workflows"),
    ("workflows", "workflow_executions"),
    ("runs", "run_steps"),
    ("runs", "workflow_data"),
    ("organizations", "orchestrator_agents"),
    ("orchestrator_agents", "agent_instances"),
    ("orchestrator_agents", "prompts"),
    ("agent_instances", "agent_logs"),
    ("organizations", "system_logs"),
]


@pytest.mark.parametrize(("parent", "child"), EMBEDDINGS)
def test_no_embedding_leads_to_anothers_row(attack: Attack, parent: str, child: str) -> None:
    scene = attack.victim
    row = scene.row(child, whose(child))
    marker = KINDS[parent].key[0]
    downwards = {"select": f"{marker},{child}!inner(id)", f"{child}.id": f"eq.{row['id']}"}
    upwards = {"select": f"id,{parent}!inner({marker})", "id": f"eq.{row['id']}"}
    for table, query in ((parent, downwards), (child, upwards)):
        assert len(ok(attack.owner.get(table, **query))) == 1
        assert ok(attack.eve.get(table, **query)) == []
        outer = {"select": query["select"].replace("!inner", "")}
        assert str(row["id"]) not in attack.eve.get(table, **outer).text


def foreign_rows(attack: Attack) -> dict[str, tuple[str, Json, str]]:
    """Return rows of Eve's that name the victim's, with the token of the refusal (empty: Postgres's own 42501)."""
    own, slug = attack.own, attack.victim.slug
    here = {"organization_slug": own["organization_slug"]}
    schedule = {**here, "name": "s", "cron": "0 9 * * 1", "method": "converse", "prompt": "p"}
    repository = {"organization_slug": slug, "name": "r", "git_url": "https://example.com/r.git"}
    project = {"conversation_id": own["conversation_id"]}
    agent = KINDS["agents"].row(attack.victim, "organization")
    plan = {"steps": [{"id": "a", "type": "agent", "agent": attack.agent, "prompt": "p"}]}
    task_id, conversation_id = attack.id("tasks"), attack.id("agent_conversations")
    execution = {"workflow_id": own["workflow"], "parent_execution_id": attack.id("workflow_executions")}
    return {
        "schedule, agent": ("schedules", {**schedule, "agent_slug": attack.agent}, "agent_not_found"),
        "schedule, organization": ("schedules", {**schedule, "organization_slug": slug}, ""),
        "workflow, agent": ("workflows", {**here, **WORKFLOW, "agent_slug": attack.agent}, "agent_not_found"),
        "workflow, organization": (
            "workflows",
            {**WORKFLOW, "organization_slug": slug, "agent_slug": own["agent_slug"]},
            "agent_not_found",
        ),
        "workflow, organization and agent": (
            "workflows",
            {**WORKFLOW, "organization_slug": slug, "agent_slug": attack.agent},
            "agent_not_found",
        ),
        "execution, workflow": ("workflow_executions", {"workflow_id": attack.id("workflows")}, "workflow_not_found"),
        "execution, parent": ("workflow_executions", execution, "parent_execution_not_found"),
        "project, conversation": ("projects", {"conversation_id": conversation_id}, "conversation_not_found"),
        "project, parent": ("projects", {**project, "parent_project_id": attack.id("projects")}, "project_not_found"),
        "project, organization": ("projects", {**project, "organization_slug": slug}, "conversation_not_found"),
        "project, plan": ("projects", {**project, "plan_json": plan}, "agent_not_found"),
        "assignment, task": ("task_assignments", {"task_id": task_id, "user_id": attack.eve.id}, "assignee_not_found"),
        "assignment, user": (
            "task_assignments",
            {"task_id": own["task"], "user_id": attack.owner.id},
            "assignee_not_found",
        ),
        "comment, task": ("task_comments", {"task_id": task_id, "content": "Hello"}, ""),
        "marketplace, organization": (
            "marketplaces",
            {"organization_slug": slug, "name": "m", "base_url": "https://market.example"},
            "",
        ),
        "repository, organization": ("agent_repositories", repository, ""),
        "agent, organizations": (
            "agents",
            {**agent, "organization_slug": [own["organization_slug"], slug]},
            "not_allowed",
        ),
        "task, parent": (
            "tasks",
            {**here, "agent_slug": own["agent_slug"], "method": "converse", "prompt": "p", "parent_task_id": task_id},
            "parent_task_not_found",
        ),
    }


ATTEMPTS = [
    "schedule, agent",
    "schedule, organization",
    "workflow, agent",
    "workflow, organization",
    "workflow, organization and agent",
    "execution, workflow",
    "execution, parent",
    "project, conversation",
    "project, parent",
    "project, organization",
    "project, plan",
    "assignment, task",
    "assignment, user",
    "comment, task",
    "marketplace, organization",
    "repository, organization",
    "agent, organizations",
    "task, parent",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_row_that_names_anothers_is_refused(unharmed: Attack, attempt: str) -> None:
    table, row, token = foreign_rows(unharmed)[attempt]
    answer = unharmed.eve.insert(table, row)
    message = token or f'new row violates row-level security policy for table "{table}"'
    if message.endswith("_not_found"):
        assert_refused(answer, 404, "PT404", message)
    else:
        assert_refused(answer, 403, "42501", message)
    missing = json.loads(json.dumps(row).replace(unharmed.agent, "no-such-agent"))
    if missing != row:
        nothing = unharmed.eve.insert(table, missing).text.replace("no-such-agent", unharmed.agent)
        assert nothing == answer.text, "what is another's and what is not there must look the same"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("agents", "organization_slug"),
        ("agent_repositories", "organization_slug"),
        ("schedules", "organization_slug"),
        ("projects", "organization_slug"),
        ("projects", "conversation_id"),
        ("workflows", "organization_slug"),
        ("workflows", "agent_slug"),
        ("marketplaces", "organization_slug"),
        ("tasks", "organization_slug"),
    ],
)
def test_no_row_moves_to_another_organization(unharmed: Attack, table: str, column: str) -> None:
    """Neither Eve's into the victim's organization, nor the victim's into Eve's by its own owner."""
    theirs = {
        "organization_slug": unharmed.victim.slug,
        "agent_slug": unharmed.agent,
        "conversation_id": unharmed.id("agent_conversations"),
    }
    for mover, places in ((unharmed.eve, theirs), (unharmed.owner, unharmed.own)):
        value = [places[column]] if table == "agents" else places[column]
        assert_not_allowed(mover.update(table, {column: value}, **{KINDS[table].key[0]: "not.is.null"}))


def assert_not_allowed(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (403, "42501"), answer.text


def test_a_write_without_a_filter_reaches_only_ones_own(unharmed: Attack) -> None:
    """No filter reads no column, so that no policy for reading is asked: those for writing must say it all."""
    eve, scene = unharmed.eve, unharmed.victim
    changes = {"schedules": "name", "projects": "name", "workflows": "description", "agent_repositories": "name"}
    for table, column in {**changes, "task_comments": "content"}.items():
        answer = scene.http.patch(f"/rest/v1/{table}", json={column: "Eve's"}, headers=without_rows(eve))
        assert answer.status_code == 204, answer.text
    for table in (*changes, "task_comments", "task_assignments", "marketplaces", "git_credentials"):
        answer = scene.http.request("DELETE", f"/rest/v1/{table}", headers=without_rows(eve))
        assert answer.status_code == 204, answer.text


def without_rows(caller: Caller) -> dict[str, str]:
    return {**caller.headers, "Prefer": "return=minimal"}


CALLS: dict[str, tuple[str, str, str]] = {
    "respond_to_input_request": ("404", "PT404", "input_request_not_found"),
    "restore_agent_version": ("404", "PT404", "version_not_found"),
    "agent_card": ("404", "PT404", "agent_not_found"),
    "publish_agent": ("404", "PT404", "agent_not_found"),
    "unpublish_agent": ("404", "PT404", "agent_not_found"),
    "run_schedule": ("404", "PT404", "schedule_not_found"),
    "set_git_credential": ("404", "PT404", "repository_not_found"),
    "set_organization_limits": ("403", "42501", "not_allowed"),
    "set_organization_secret": ("403", "42501", "not_allowed"),
    "delete_organization_secret": ("403", "42501", "not_allowed"),
    "set_member_role": ("403", "42501", "not_allowed"),
    "create_invitation": ("403", "42501", "not_allowed"),
}
NOWHERE = "00000000-0000-4000-8000-000000000000"


def arguments(function: str, attack: Attack, *, existing: bool) -> Json:
    """Return arguments that name the victim's rows, or, all else the same, rows that are not there."""
    slug, agent = (attack.victim.slug, attack.agent) if existing else ("no-such-slug", "no-such-agent")
    question = attack.id("input_requests") if existing else NOWHERE
    schedule = attack.id("schedules") if existing else NOWHERE
    repository = attack.id("agent_repositories") if existing else NOWHERE
    secret = attack.victim.row("organization_secrets", "colleague")["name"] if existing else "NO_SUCH_NAME"
    named: dict[str, Json] = {
        "respond_to_input_request": {"input_request_id": question, "response": "Yes"},
        "restore_agent_version": {"agent_slug": agent, "version": "1.0.0"},
        "agent_card": {"slug": agent},
        "publish_agent": {"agent_slug": agent},
        "unpublish_agent": {"agent_slug": agent},
        "run_schedule": {"schedule_id": schedule},
        "set_git_credential": {"repository_id": repository, "encrypted_token": "gAAAA" + "y" * 80},
        "set_organization_limits": {"organization_slug": slug, "limits": {"max_agents": 0}},
        "set_organization_secret": {"organization_slug": slug, "name": secret, "ciphertext": "gAAAA" + "y" * 80},
        "delete_organization_secret": {"organization_slug": slug, "name": secret},
        "set_member_role": {"organization_slug": slug, "user_id": attack.eve.id, "role": "owner"},
        "create_invitation": {"organization_slug": slug, "email": attack.eve.email},
    }
    return named[function]


@pytest.mark.parametrize("function", CALLS)
def test_a_function_says_the_same_of_anothers_row_as_of_none(unharmed: Attack, function: str) -> None:
    status, code, message = CALLS[function]
    texts = []
    for existing in (True, False):
        named = arguments(function, unharmed, existing=existing)
        body = assert_refused(unharmed.eve.rpc(function, **named), int(status), code, message)
        text = json.dumps(body)
        for value in named.values():
            text = text.replace(str(value), "…")
        texts.append(text)
    assert texts[0] == texts[1]


def test_no_unique_constraint_tells_of_another_organization(unharmed: Attack) -> None:
    """The same names in two organizations are two things; a conflict with another's row would tell that it is there."""
    scene, own = unharmed.victim, unharmed.own
    here = {"organization_slug": own["organization_slug"]}
    repository, schedule, flow = (
        scene.row(table, "colleague") for table in ("agent_repositories", "schedules", "workflows")
    )
    timing = {"cron": "0 9 * * 1", "method": "converse", "prompt": "p", "agent_slug": own["agent_slug"]}
    same = {
        "agent_repositories": {**here, "name": repository["name"], "git_url": repository["git_url"]},
        "schedules": {**here, "name": schedule["name"], **timing},
        "workflows": {
            **here,
            **WORKFLOW,
            "name": flow["name"],
            "version": flow["version"],
            "agent_slug": own["agent_slug"],
        },
    }
    for table, row in same.items():
        inserted = ok(unharmed.eve.insert(table, row))[0]
        scene.delete(table, id=f"eq.{inserted['id']}")


def test_a_new_organization_of_the_same_name_inherits_nothing(stack: Stack, http: httpx.Client) -> None:
    """What outlives an organization stays its own: its log is not for whoever takes the slug next."""
    scene = furnish(stack, http, KINDS, [("organization_invitations", "organization"), ("agents", "organization")])
    scene.close()
    scene.delete("organizations", slug=f"eq.{scene.slug}")
    heir = scene.people["outsider"]
    began = len(heir.rows("audit_logs"))
    taken = heir.rpc("create_organization", slug=scene.slug, name="The same name")
    if taken.is_success:
        entries = [row for row in heir.rows("audit_logs") if row["organization_slug"] == scene.slug]
        assert {(row["table_name"], row["actor_user_id"]) for row in entries} == {
            ("organizations", heir.id),
            ("organization_members", heir.id),
        }
        assert len(heir.rows("audit_logs")) == began + 2
    else:
        assert_refused(taken, 409, "PT409", "slug_taken")
