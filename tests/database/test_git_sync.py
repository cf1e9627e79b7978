"""Who makes syncs of repositories and how many, and what they write.

Over 400 lines, because what becomes of a file is told by many small stories.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import AGENT, Row, Session, Tenant, Worker, World, in_parallel, item, refused

CONFIG = {"provider": "anthropic", "model": "claude-sonnet-4-5", "limits": {"max_requests": 10}}


def add(tenant: Tenant, **columns: Any) -> Row:
    row = {"organization_slug": tenant.slug, "name": uuid.uuid4().hex, "git_url": f"https://git.example/{uuid.uuid4()}"}
    return tenant.owner.insert("agent_repositories", **{**row, **columns})


def read(tenant: Tenant, repository: Row) -> Row:
    return tenant.world.admin.row("select * from public.agent_repositories where id = %s", repository["id"])


def syncs(tenant: Tenant) -> list[Row]:
    query = "select * from public.tasks where organization_slug = %s and method = 'sync_repository' order by created_at"
    return tenant.world.admin.rows(query, tenant.slug)


def sync(session: Session, repository: Row, **more: Any) -> Row:
    answer: Row = session.call("sync_repository", repository_id=repository["id"], **more)
    return answer


def insert_sync(tenant: Tenant, repository: Row, session: Session) -> str:
    """Insert the task of a sync, as any client may try."""
    params = {"repository_id": str(repository["id"])}
    return tenant.task(session, method="sync_repository", agent_slug=None, params=params)


def file(tenant: Tenant, path: str = "agents/a.md", name: str = "writer", **more: Any) -> Row:
    """Give a file as a worker says it; without a hash, it is always another one."""
    row: Row = {
        "path": path,
        "hash": uuid.uuid4().hex,
        "commit_hash": "c1",
        "slug": f"{tenant.slug}-{name}",
        "name": name,
    }
    row |= {"description": "Writes.", "version": None, "tags": ["x"], "frontmatter": {"name": name}, "body": "Write."}
    return {**row, "context": "Write.", "llm_config": CONFIG, "metadata": {"exposed": False}, **more}


class Sync:
    """A sync that a worker holds."""

    def __init__(self, tenant: Tenant, worker: Worker, repository: Row) -> None:
        self.tenant, self.worker, self.repository = tenant, worker, repository
        sync(tenant.owner, repository)
        self.lease = worker.claim_one(tenant)
        self.fence = {key: item(self.lease)[key] for key in ("task_id", "attempt", "lease_token")}

    def call(self, function: str, **arguments: Any) -> Any:
        return self.worker.session.call(function, **self.fence, **arguments)

    def apply(self, *files: Row, removed: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """Write files; return what was wrong as (path, code)."""
        problems = self.call("apply_git_files", files=Jsonb(list(files)), removed=Jsonb(list(removed)))
        assert all(problem["message"] and problem["level"] == "error" for problem in problems)
        return [(problem["path"], problem["code"]) for problem in problems]

    def finish(self, commit: str = "c1", *problems: Row) -> Row:
        answer: Row = self.call("finish_repository_sync", commit_hash=commit, problems=Jsonb(list(problems)))
        return answer

    def end(self) -> None:
        assert self.worker.complete(self.lease) == "ok"


def agents(tenant: Tenant) -> dict[str, Row]:
    query = "select * from public.agents where organization_slug @> array[%s] and department = 'git'"
    return {row["slug"].removeprefix(f"{tenant.slug}-"): row for row in tenant.world.admin.rows(query, tenant.slug)}


def files(tenant: Tenant) -> dict[str, Row]:
    query = (
        "select g.* from public.git_agents g join public.agent_repositories r on r.id = g.agent_repository_id"
        " where r.organization_slug = %s"
    )
    return {row["file_path"]: row for row in tenant.world.admin.rows(query, tenant.slug)}


@pytest.fixture
def repository(tenant: Tenant) -> Row:
    return add(tenant)


# Who asks


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("member", False), ("developer", True), ("admin", True)])
def test_developers_ask_for_a_sync(tenant: Tenant, repository: Row, role: str, may: bool) -> None:
    session = tenant.join(role)
    if not may:
        with refused("PT404", "repository_not_found"):
            sync(session, repository)
        with refused("42501", "not_allowed"):
            tenant.task(
                session, method="sync_repository", agent_slug=None, params={"repository_id": str(repository["id"])}
            )
        assert syncs(tenant) == []
        return
    answer = sync(session, repository)
    (task,) = syncs(tenant)
    assert answer == {"task_id": str(task["id"]), "is_new": True}
    assert (str(task["user_id"]), task["params"]) == (session.id, {"repository_id": str(repository["id"])})
    assert session.rows("select from public.tasks where id = %s", task["id"])


def test_a_foreign_and_an_unknown_repository_are_answered_alike(world: World, tenant: Tenant, repository: Row) -> None:
    stranger = world.tenant()
    details = []
    for found in (repository, {"id": uuid.uuid4()}):
        with refused("PT404", "repository_not_found") as refusal:
            sync(stranger.owner, found)
        details.append(refusal.detail.replace(str(found["id"]), "…"))
        with refused("PT404", "repository_not_found"):
            stranger.task(method="sync_repository", agent_slug=None, params={"repository_id": str(found["id"])})
        with refused("PT404", "repository_not_found"):
            stranger.owner.call("renew_push_secret", repository_id=found["id"])
    assert details[0] == details[1]
    assert syncs(tenant) == syncs(stranger) == []


@pytest.mark.parametrize("params", [{}, {"repository_id": None}, {"repository_id": 7}, {"repository_id": "x'; --"}])
def test_a_task_that_names_no_repository_is_refused(tenant: Tenant, params: Row) -> None:
    with refused("PT404", "repository_not_found"):
        tenant.task(method="sync_repository", agent_slug=None, params=params)


def test_who_asks_while_a_sync_waits_joins_it(tenant: Tenant, repository: Row) -> None:
    first, developer = sync(tenant.owner, repository), tenant.join("developer")
    assert sync(developer, repository) == {"task_id": first["task_id"], "is_new": False}
    with refused("PT409", "sync_waiting"):
        tenant.task(
            developer, method="sync_repository", agent_slug=None, params={"repository_id": str(repository["id"])}
        )
    assert len(syncs(tenant)) == 1
    assert sync(tenant.owner, add(tenant))["is_new"]


def test_ten_who_ask_at_once_make_one_sync(tenant: Tenant, repository: Row) -> None:
    answers = in_parallel([tenant.owner] * 10, lambda session: sync(session, repository))
    assert len({answer["task_id"] for answer in answers}) == len(syncs(tenant)) == 1
    assert sum(answer["is_new"] for answer in answers) == 1


def test_one_sync_runs_at_a_time_and_one_more_waits(tenant: Tenant, worker: Worker, repository: Row) -> None:
    sync(tenant.owner, repository)
    running = worker.claim_one(tenant)
    assert sync(tenant.owner, repository)["is_new"]
    assert not sync(tenant.owner, repository)["is_new"]
    assert worker.claim(tenant) == []
    assert worker.complete(running) == "ok"
    assert worker.claim_one(tenant)["task"]["method"] == "sync_repository"


def test_who_wants_everything_read_does_not_join_one_that_does_not(tenant: Tenant, repository: Row) -> None:
    sync(tenant.owner, repository)
    forced = sync(tenant.owner, repository, force=True)
    assert forced["is_new"]
    assert sync(tenant.owner, repository, force=True)["task_id"] == forced["task_id"]
    assert [task["params"].get("force") for task in syncs(tenant)] == [None, True]


def test_a_sync_that_waits_for_its_next_attempt_is_tried_at_once(
    tenant: Tenant, worker: Worker, repository: Row
) -> None:
    sync(tenant.owner, repository)
    failure = {"error_code": "repository_unreachable", "error_message": "Nobody is there.", "retryable": True}
    assert worker.fail(worker.claim_one(tenant), **failure) == "ok"
    assert worker.claim(tenant) == []
    assert not sync(tenant.owner, repository)["is_new"]
    assert worker.claim_one(tenant)["attempt"] == 2


def test_a_schedule_syncs_and_does_not_add_to_one_that_waits(tenant: Tenant, repository: Row) -> None:
    columns: Row = {
        "organization_slug": tenant.slug,
        "name": "nightly",
        "cron": "0 3 * * *",
        "method": "sync_repository",
    }
    columns |= {"prompt": "Sync", "overlap_policy": "queue", "params": {"repository_id": str(repository["id"])}}
    schedule = tenant.owner.insert("schedules", **columns)
    tenant.owner.call("run_schedule", schedule_id=schedule["id"])
    (task,) = syncs(tenant)
    assert (task["concurrency_key"], task["concurrency_limit"]) == (f"sync_repository:{repository['id']}", 1)
    fire = (
        "select private.add_scheduled_tasks(s, array[now()], s.user_id, true) as ids from public.schedules s"
        " where s.id = %s"
    )
    assert tenant.world.service.row(fire, schedule["id"])["ids"] == []
    assert len(syncs(tenant)) == 1
    tenant.owner.execute("delete from public.agent_repositories where id = %s", repository["id"])
    with refused("PT404", "repository_not_found"):
        tenant.owner.call("run_schedule", schedule_id=schedule["id"])


# What a sync writes


def test_a_file_becomes_an_agent_with_its_version(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    place = run.call("read_repository_sync")
    assert place["agent_directory"] == "agents"
    assert (place["last_commit"], place["is_settled"]) == (None, False)
    assert run.call("begin_repository_sync") == {"files": {}, "problems": []}
    assert read(tenant, repository)["last_sync_status"] == "in_progress"
    sent = file(tenant, version="1.2.0")
    assert run.apply(sent) == []
    warning = {"path": "agents/a.md", "level": "warning", "code": "key_unknown", "message": "Nothing reads x."}
    assert run.finish("c1", warning) == {"deactivated": 0, "is_done": True}
    agent = agents(tenant)["writer"]
    assert (agent["agent_type"], agent["status"], agent["organization_slug"]) == ("context", "active", [tenant.slug])
    assert (agent["context"], agent["llm_config"], agent["version"]) == ("Write.", CONFIG, "1.2.0")
    assert agent["metadata"]["git"] == {"repository_id": str(repository["id"])}
    row = files(tenant)["agents/a.md"]
    assert (row["agent_slug"], row["content_hash"], row["body"]) == (agent["slug"], sent["hash"], "Write.")
    state = read(tenant, repository)
    assert (state["last_sync_status"], state["last_sync_commit_hash"], state["last_sync_errors"]) == (
        "success",
        "c1",
        [warning],
    )
    versions = tenant.owner.rows("select version from public.agent_versions where agent_slug = %s", agent["slug"])
    assert [version["version"] for version in versions] == ["1.2.0"]
    assert run.call("begin_repository_sync") == {"files": {"agents/a.md": sent["hash"]}, "problems": [warning]}


def test_said_again_it_changes_nothing(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run, sent = Sync(tenant, worker, repository), file(tenant)
    run.apply(sent)
    before = agents(tenant), files(tenant)
    run.apply(sent)
    after = agents(tenant), files(tenant)
    for rows in (*before, *after):
        for row in rows.values():
            row.pop("updated_at")
    assert before == after


def test_a_change_is_the_next_version_and_a_lower_number_is_not_taken(
    tenant: Tenant, worker: Worker, repository: Row
) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant, version="1.2.0"))
    run.apply(file(tenant, version="1.1.0", context="Write more."))
    assert agents(tenant)["writer"]["version"] == "1.2.1"
    run.apply(file(tenant, version="2.0.0", context="Write less."))
    assert (agents(tenant)["writer"]["version"], agents(tenant)["writer"]["context"]) == ("2.0.0", "Write less.")


def test_what_somebody_turned_off_stays_off(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant))
    tenant.owner.update("agents", {"slug": f"{tenant.slug}-writer"}, status="inactive")
    run.apply(file(tenant, context="Write more."))
    assert agents(tenant)["writer"]["status"] == "inactive"


def test_an_agent_whose_file_is_gone_rests_and_comes_back_with_it(
    tenant: Tenant, worker: Worker, repository: Row
) -> None:
    run, sent = Sync(tenant, worker, repository), file(tenant)
    run.apply(sent, file(tenant, "agents/b.md", "other"))
    run.apply(removed=("agents/a.md", "agents/never.md"))
    assert run.finish("c2") == {"deactivated": 1, "is_done": True}
    assert {name: row["status"] for name, row in agents(tenant).items()} == {"writer": "inactive", "other": "active"}
    assert not files(tenant)["agents/a.md"]["is_active"]
    run.apply(sent)
    run.finish("c3")
    assert agents(tenant)["writer"]["status"] == "active"
    assert files(tenant)["agents/a.md"]["is_active"]


def test_a_file_that_moves_keeps_its_row_and_its_agent(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run, sent = Sync(tenant, worker, repository), file(tenant)
    run.apply(sent)
    before, version = files(tenant)["agents/a.md"]["id"], agents(tenant)["writer"]["version"]
    run.apply({**sent, "path": "agents/deep/b.md"}, removed=("agents/a.md",))
    run.finish("c2")
    assert {path: row["id"] for path, row in files(tenant).items()} == {"agents/deep/b.md": before}
    assert (agents(tenant)["writer"]["status"], agents(tenant)["writer"]["version"]) == ("active", version)


def test_two_files_exchange_their_names(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant, "a.md", "one"), file(tenant, "b.md", "two"))
    assert run.apply(file(tenant, "a.md", "two"), file(tenant, "b.md", "one")) == []
    run.finish("c2")
    assert {path: row["agent_slug"] for path, row in files(tenant).items()} == {
        "a.md": f"{tenant.slug}-two",
        "b.md": f"{tenant.slug}-one",
    }
    assert {row["status"] for row in agents(tenant).values()} == {"active"}


def test_a_file_that_names_another_agent_leaves_the_first_to_rest(
    tenant: Tenant, worker: Worker, repository: Row
) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant, "a.md", "one"))
    run.apply(file(tenant, "a.md", "two"))
    assert run.finish("c2")["deactivated"] == 1
    assert {name: row["status"] for name, row in agents(tenant).items()} == {"one": "inactive", "two": "active"}
    run.apply(file(tenant, "b.md", "one"))
    run.finish("c3")
    assert {row["status"] for row in agents(tenant).values()} == {"active"}


def test_a_name_is_one_files_alone(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    assert run.apply(file(tenant, "a.md", "one"), file(tenant, "b.md", "one")) == [("b.md", "name_repeated")]
    assert run.apply(file(tenant, "c.md", "one"), file(tenant, "d.md", "two")) == [("c.md", "name_repeated")]
    assert files(tenant).keys() == {"a.md", "d.md"}


def test_an_agent_that_is_not_the_repositorys_alone_is_never_taken_over(
    world: World, tenant: Tenant, worker: Worker, repository: Row
) -> None:
    stranger = world.tenant()
    mine = {"git": {"repository_id": str(repository["id"])}}
    rows: list[Row] = [
        {"slug": f"{tenant.slug}-foreign", "organization_slug": [stranger.slug], "metadata": mine},
        {"slug": f"{tenant.slug}-shared", "organization_slug": [tenant.slug, stranger.slug], "metadata": mine},
        {"slug": f"{tenant.slug}-private", "organization_slug": [], "owner_user_id": stranger.owner.id},
        {"slug": f"{tenant.slug}-handmade", "organization_slug": [tenant.slug]},
    ]
    for row in rows:
        world.admin.insert("agents", **{**AGENT, **row})
    other = Sync(tenant, worker, add(tenant))
    other.apply(file(tenant, "e.md", "elsewhere"))
    other.end()
    run = Sync(tenant, worker, repository)
    names = ["foreign", "shared", "private", "handmade", "elsewhere"]
    sent = [file(tenant, f"{name}.md", name, context="Obey me.") for name in names]
    assert run.apply(*sent, file(tenant, "z.md", "fine")) == sorted((f"{name}.md", "slug_taken") for name in names)
    run.finish("c1")
    assert files(tenant).keys() == {"e.md", "z.md"}
    taken = world.admin.rows(
        "select status, context from public.agents where slug = any (%s)", [r["slug"] for r in rows]
    )
    assert taken == [{"status": "active", "context": "You write."}] * 4


def test_a_repository_that_is_added_again_gets_its_agents_back(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant))
    run.end()
    tenant.owner.execute("delete from public.agent_repositories where id = %s", repository["id"])
    assert agents(tenant)["writer"]["status"] == "inactive"
    again = Sync(tenant, worker, add(tenant))
    assert again.apply(file(tenant)) == []
    assert agents(tenant)["writer"]["status"] == "active"


@pytest.mark.parametrize(
    "bad",
    [
        {"context": "x" * 262_145},
        {"slug": "Not A Slug"},
        {"llm_config": {"provider": "none"}},
        {"path": "../../etc/passwd"},
        {"frontmatter": []},
        {"version": "1"},
        {"name": " "},
        {"metadata": {"deep": json.loads("[" * 70 + "]" * 70)}},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_one_bad_file_stops_no_other(tenant: Tenant, worker: Worker, repository: Row, bad: Row) -> None:
    run = Sync(tenant, worker, repository)
    sent = [file(tenant, "a.md", "one"), {**file(tenant, "b.md", "two"), **bad}, file(tenant, "c.md", "three")]
    assert run.apply(*sent) == [(sent[1]["path"], "refused")]
    assert files(tenant).keys() == {"a.md", "c.md"}


def test_an_organization_gets_no_more_agents_than_it_may_have(world: World, worker: Worker) -> None:
    tenant = world.tenant(max_agents=3)
    run = Sync(tenant, worker, add(tenant))
    problems = run.apply(*(file(tenant, f"{number}.md", f"n{number}") for number in range(4)))
    assert problems == [("2.md", "over_limit"), ("3.md", "over_limit")]
    assert agents(tenant).keys() == {"n0", "n1"}


def test_an_agent_that_was_deleted_is_made_again(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run, sent = Sync(tenant, worker, repository), file(tenant)
    run.apply(sent)
    tenant.owner.execute("delete from public.agents where slug = %s", sent["slug"])
    assert run.call("begin_repository_sync")["files"] == {"agents/a.md": ""}
    run.apply(sent)
    assert agents(tenant).keys() == {"writer"}


def test_only_who_holds_the_sync_writes(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.end()
    for function, more in (
        ("read_repository_sync", {}),
        ("begin_repository_sync", {}),
        ("apply_git_files", {"files": Jsonb([file(tenant)])}),
        ("finish_repository_sync", {"commit_hash": "c9"}),
    ):
        with refused("PT409", "lease_lost"):
            run.call(function, **more)
        with refused("42501"):
            tenant.owner.call(function, **run.fence, **more)
    other = tenant.task()
    lease = item(worker.claim_one(tenant))
    with refused("PT404", "repository_not_found"):
        worker.session.call(
            "read_repository_sync", task_id=other, attempt=lease["attempt"], lease_token=lease["lease_token"]
        )
    assert (agents(tenant), read(tenant, repository)["last_sync_commit_hash"]) == ({}, None)


@pytest.mark.parametrize("bad", [{"files": {}}, {"files": [{}] * 1001}, {"files": [], "removed": {}}])
def test_what_is_no_list_is_refused(tenant: Tenant, worker: Worker, repository: Row, bad: Row) -> None:
    run = Sync(tenant, worker, repository)
    with refused("22023", "items_not_a_list"):
        run.call("apply_git_files", **{name: Jsonb(value) for name, value in bad.items()})


@pytest.mark.parametrize(
    "change",
    [{"branch": "next"}, {"git_url": "https://elsewhere.example/x"}, {"agent_directory": "b"}, {"is_root": True}],
)
def test_another_place_is_read_whole(tenant: Tenant, worker: Worker, repository: Row, change: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.finish("c1")
    tenant.owner.update("agent_repositories", {"id": repository["id"]}, name="renamed")
    assert read(tenant, repository)["last_sync_commit_hash"] == "c1"
    tenant.owner.update("agent_repositories", {"id": repository["id"]}, **change)
    assert read(tenant, repository)["last_sync_commit_hash"] is None


def test_a_failed_attempt_is_told_by_the_repository(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.apply(file(tenant))
    run.finish("c1")
    run.end()
    sync(tenant.owner, repository)
    for retryable, word in ((True, "pending"), (False, "failed")):
        lease = worker.claim_one(tenant)
        failure = {"error_code": "repository_unreachable", "error_message": f"No {word}.", "retryable": retryable}
        assert worker.fail(lease, **failure) == "ok"
        assert tenant.read(lease["task"]["id"])["status"] == word
        state = read(tenant, repository)
        said = {"level": "error", "code": "repository_unreachable", "message": f"No {word}."}
        assert (state["last_sync_status"], state["last_sync_errors"]) == ("failure", [said])
        assert state["last_sync_commit_hash"] == "c1"
        tenant.world.admin.execute("update public.tasks set scheduled_at = now() where id = %s", lease["task"]["id"])
    assert agents(tenant)["writer"]["status"] == "active"


def test_a_sync_that_is_cancelled_says_so(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    run.call("begin_repository_sync")
    tenant.owner.call("cancel_task", task_id=run.fence["task_id"])
    state = read(tenant, repository)
    assert (state["last_sync_status"], state["last_sync_errors"][0]["code"]) == ("failure", "cancelled")


def test_an_exchange_does_not_wait_for_a_repository_that_somebody_changes(
    tenant: Tenant, worker: Worker, repository: Row
) -> None:
    run = Sync(tenant, worker, repository)
    with tenant.owner.fresh() as other, other.transaction() as connection:
        connection.execute("update public.agent_repositories set name = 'held' where id = %s", [repository["id"]])
        assert worker.fail(run.lease) == "ok"
    assert tenant.read(run.fence["task_id"])["status"] == "failed"


def test_two_hundred_files_are_written_in_one_call(tenant: Tenant, worker: Worker, repository: Row) -> None:
    run = Sync(tenant, worker, repository)
    sent = [file(tenant, f"{number:04}.md", f"n{number}") for number in range(200)]
    assert run.apply(*sent) == []
    assert len(files(tenant)) == len(agents(tenant)) == 200
    run.apply(removed=tuple(row["path"] for row in sent))
    assert run.finish("c2")["deactivated"] == 200
