"""Repositories of agents from end to end: real git servers, a real worker, the real database.

Over 400 lines, because each story of a repository is told by its commits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.git_server import FILE, FOLDER, GIT, SUBMODULE, SYMLINK, GitServer, Origin, RealGit, agent, serve_git
from tests.stack import Stack
from tests.unit.http_server import Reply, Seen, Server, serve
from tests.unit.wire import stream
from tests.workers.conftest import Lab, laboratory
from tests.workers.waiting import Row, wait_for

KEY = Fernet.generate_key()
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
OPTIONS = ("--lease-seconds", "10", "--concurrency", "4")
ROWS = """
select 'git_agents' as "table", g.file_path as key, g.xmin::text as version
from public.git_agents g join public.agent_repositories r on r.id = g.agent_repository_id where r.id = %(id)s
union all select 'agents', a.slug, a.xmin::text from public.agents a where a.organization_slug @> array[%(slug)s]
union all select 'versions', v.agent_slug || v.version, v.xmin::text from public.agent_versions v
  join public.agents a on a.slug = v.agent_slug where a.organization_slug @> array[%(slug)s]
"""


on_dulwich = pytest.mark.parametrize("place", ["dulwich"], indirect=True)
on_one = pytest.mark.parametrize("place", ["git" if GIT else "dulwich"], indirect=True)


@dataclass
class Office:
    """An organization with its worker, and the provider that its models are asked of."""

    lab: Lab
    model: Server


@dataclass
class Place:
    """A repository that is served, and its row."""

    lab: Lab
    model: Server
    server: GitServer
    origin: Origin
    id: str

    def sync(self, status: str = "completed", **more: Any) -> Row:
        """Sync it, and return the task once it has that status."""
        answer = self.lab.post("rpc/sync_repository", repository_id=self.id, **more)
        return self.lab.await_task(answer["task_id"], status)

    def state(self) -> Row:
        row = self.lab.sql.execute("select * from public.agent_repositories where id = %s", (self.id,)).fetchone()
        assert row is not None
        return row

    def problems(self) -> dict[str, str]:
        """Return what last_sync_errors says of each file."""
        return {entry.get("path", ""): entry["code"] for entry in self.state()["last_sync_errors"] or ()}

    def agents(self) -> dict[str, Row]:
        query = (
            "select a.* from public.agents a"
            " where a.organization_slug @> array[%s] and a.metadata #>> '{git,repository_id}' = %s"
        )
        rows = self.lab.sql.execute(query, (self.lab.organization, self.id)).fetchall()
        return {row["name"]: row for row in rows}

    def rows(self) -> set[tuple[str, ...]]:
        """Return the versions that the database has of every row that a sync could write."""
        rows = self.lab.sql.execute(ROWS, {"id": self.id, "slug": self.lab.organization}).fetchall()
        return {tuple(row.values()) for row in rows}


@pytest.fixture(scope="module")
def office(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Give an organization with a worker that has the key of credentials."""
    with laboratory(stack, f"git-{time.time_ns()}", tmp_path_factory.mktemp("git")) as lab:
        lab.post("organization_members", organization_slug=lab.organization, user_id=lab.user_id, role="owner")
        with serve(_model) as model:
            lab.start_worker(
                *OPTIONS,
                ORCHESTRATOR_SECRETS_KEY=KEY.decode(),
                ANTHROPIC_API_KEY="k",
                ANTHROPIC_BASE_URL=model.url,
            )
            yield Office(lab, model)


def _model(_seen: Seen) -> Reply:
    return stream("anthropic", ["Said."])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, GitServer]]:
    with (
        serve_git(tmp_path_factory.mktemp("dulwich")) as dulwich,
        serve_git(tmp_path_factory.mktemp("real"), RealGit) as real,
    ):
        yield {"dulwich": dulwich, "git": real}


@pytest.fixture(params=["dulwich", "git"])
def place(request: pytest.FixtureRequest, office: Office, servers: dict[str, GitServer]) -> Iterator[Place]:
    """Give a repository of this test's own, on dulwich's server, and again on git's."""
    if request.param == "git" and GIT is None:
        pytest.skip("git is not installed here")
    server = servers[request.param]
    server.token, server.statuses = None, []
    name = f"r{time.time_ns()}"
    origin = server.add(name)
    lab = office.lab
    columns = {"organization_slug": lab.organization, "name": name, "git_url": server.address(name)}
    (row,) = lab.post("agent_repositories", **columns, created_by=lab.user_id)
    yield Place(lab, office.model, server, origin, row["id"])
    lab.sql.execute("delete from public.agents where metadata #>> '{git,repository_id}' = %s", (row["id"],))
    lab.sql.execute("delete from public.agent_repositories where id = %s", (row["id"],))
    origin.repo.close()


def test_files_become_agents_that_run(place: Place) -> None:
    files = {
        "agents/writer.md": agent(
            tags="[seo]", temperature=0.3, version="1.4.0", color="red", allowedAgents="[Checker]"
        ),
        "agents/deep/checker.md": agent("Checker", "You check.", maxIterations=3),
        "agents/README.md": "# These are the agents\n",
        "elsewhere/other.md": agent("Other"),
    }
    commit = place.origin.commit(files)
    done = place.sync()
    assert done["response_metadata"] == {"commit": commit, "written": 2, "removed": 0, "problems": 1}
    state = place.state()
    assert (state["last_sync_status"], state["last_sync_commit_hash"]) == ("success", commit)
    assert place.problems() == {"agents/writer.md": "key_unknown"}
    found = place.agents()
    assert found.keys() == {"Writer", "Checker"}
    writer = found["Writer"]
    assert (writer["slug"], writer["version"]) == (f"{place.lab.organization}-writer", "1.4.0")
    assert writer["llm_config"]["parameters"] == {"temperature": 0.3}
    assert found["Checker"]["llm_config"]["limits"] == {"max_requests": 3}
    task = place.lab.await_task(place.lab.add_task(writer["slug"], method="converse"))
    assert (task["response"], task["llm_metadata"]["model"]) == ("Said.", "claude-sonnet-4-5")
    asked = place.model.seen[-1].json
    assert (asked["model"], asked["temperature"]) == ("claude-sonnet-4-5", 0.3)
    assert [tool["name"] for tool in asked["tools"]] == [f"call_{found['Checker']['slug']}"]
    assert "You write." in json.dumps(asked["system"])


@on_dulwich
def test_a_push_of_a_git_host_is_synced(place: Place) -> None:
    commit = place.origin.commit({"agents/a.md": agent()})
    secret = place.lab.post("rpc/renew_push_secret", repository_id=place.id)["secret"]
    url = place.state()["git_url"]
    body = json.dumps({"ref": "refs/heads/main", "after": commit, "repository": {"clone_url": url}}, indent=1).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": signature}
    hook = f"{place.lab.stack.url}/rest/v1/rpc/receive_git_push?apikey={place.lab.stack.anon_key}"
    bad = httpx.post(hook, content=body + b" ", headers=headers)
    assert (bad.status_code, bad.json()["message"]) == (401, "push_not_accepted")
    good = httpx.post(hook, content=body, headers=headers)
    assert (good.status_code, good.json()) == (200, {"accepted": True, "queued": True})
    wait_for(lambda: place.state()["last_sync_commit_hash"] == commit, 20, "the push is synced")
    assert place.agents()["Writer"]["status"] == "active"


def test_a_repository_is_followed_through_its_changes(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent("One"), "agents/b.md": agent("Two"), "agents/c.md": agent("Three")})
    place.sync()
    ids = "select file_path, id::text from public.git_agents where agent_repository_id = %s and is_active"
    before = {row["file_path"]: row["id"] for row in place.lab.sql.execute(ids, (place.id,))}
    # One changes, two moves, three goes, four comes.
    files = {"agents/a.md": agent("One", "Other."), "agents/moved/b.md": agent("Two"), "agents/d.md": agent("Four")}
    place.origin.commit(files)
    done = place.sync()
    assert done["response_metadata"] | {"commit": ""} == {"commit": "", "written": 3, "removed": 2, "problems": 0}
    found = place.agents()
    assert {name: (row["status"], row["version"]) for name, row in found.items()} == {
        "One": ("active", "1.0.1"),
        "Two": ("active", "1.0.0"),
        "Three": ("inactive", "1.0.0"),
        "Four": ("active", "1.0.0"),
    }
    assert found["One"]["context"] == "Other."
    after = {row["file_path"]: row["id"] for row in place.lab.sql.execute(ids, (place.id,))}
    assert (after["agents/a.md"], after["agents/moved/b.md"]) == (before["agents/a.md"], before["agents/b.md"])
    place.origin.commit({"agents/c.md": agent("Three")})
    place.sync()
    assert {name: row["status"] for name, row in place.agents().items()} == {
        "One": "inactive",
        "Two": "inactive",
        "Three": "active",
        "Four": "inactive",
    }


def test_the_same_commit_is_asked_for_and_nothing_else_happens(place: Place) -> None:
    commit = place.origin.commit({"agents/a.md": agent()})
    place.sync()
    state, rows, asked = place.state(), place.rows(), len(place.server.asked)
    again = place.sync()
    assert again["response"] == f"Nothing has changed since {commit[:12]}."
    assert (place.state(), place.rows()) == (state, rows)
    # The refs, in version 2 after what the server can do; and no pack.
    assert len(place.server.asked) - asked == (2 if isinstance(place.server, RealGit) else 1)
    place.lab.sql.execute("update public.agents set context = 'x' where slug = %s", (place.agents()["Writer"]["slug"],))
    place.sync(force=True)
    assert place.agents()["Writer"]["context"] == "You write."


@on_one
def test_another_commit_of_the_same_files_writes_no_file_again(place: Place) -> None:
    files = {"agents/a.md": agent(color="red"), "agents/b.md": agent("Other")}
    place.origin.commit(files)
    place.sync()
    rows = place.rows()
    commit = place.origin.commit({**files, "README.md": "changed"})
    assert place.sync()["response_metadata"] == {"commit": commit, "written": 0, "removed": 0, "problems": 1}
    assert place.rows() == rows
    assert place.problems() == {"agents/a.md": "key_unknown"}  # What was wrong with it still is.


@on_one
def test_the_folder_and_the_branch_are_those_of_the_row(place: Place) -> None:
    place.origin.commit({"team/a.md": agent("One"), "b.md": agent("Two")}, "feature/x")
    place.origin.commit({"agents/c.md": agent("Three")})
    update = "update public.agent_repositories set branch = %s, agent_directory = %s, is_root = %s where id = %s"
    place.sync()
    place.lab.sql.execute(update, ("feature/x", "team", False, place.id))
    place.sync()
    assert {name: row["status"] for name, row in place.agents().items()} == {"One": "active", "Three": "inactive"}
    place.lab.sql.execute(update, ("feature/x", None, True, place.id))
    place.sync()
    assert {name for name, row in place.agents().items() if row["status"] == "active"} == {"One", "Two"}
    place.lab.sql.execute(update, ("main", "nowhere", False, place.id))
    assert place.sync("failed")["error_code"] == "repository_directory_missing"
    assert {name for name, row in place.agents().items() if row["status"] == "active"} == {"One", "Two"}


@on_one
def test_a_force_push_is_followed(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent("One")})
    place.origin.commit({"agents/a.md": agent("One", "Second.")})
    place.sync()
    commit = place.origin.commit({"agents/a.md": agent("One", "Another history.")}, parent=False)
    place.sync()
    assert (place.state()["last_sync_commit_hash"], place.agents()["One"]["context"]) == (commit, "Another history.")


@on_one
def test_a_branch_that_vanished_leaves_the_agents_as_they_were(place: Place) -> None:
    empty = place.sync("failed")
    assert (empty["error_code"], empty["attempt"]) == ("repository_empty", 1)
    commit = place.origin.commit({"agents/a.md": agent()})
    place.origin.commit({"agents/a.md": agent()}, "other")
    place.sync()
    place.origin.remove_branch("main")
    task = place.sync("failed")
    assert (task["error_code"], task["error_data"], task["attempt"]) == (
        "repository_branch_missing",
        {"branches": ["other"]},
        1,
    )
    state = place.state()
    assert (state["last_sync_status"], state["last_sync_commit_hash"]) == ("failure", commit)
    assert state["last_sync_errors"][0]["code"] == "repository_branch_missing"
    assert place.agents()["Writer"]["status"] == "active"
    place.origin.commit({"agents/a.md": agent()}, "main", parent=False)
    place.sync()
    assert (place.state()["last_sync_status"], place.state()["last_sync_errors"]) == ("success", None)


def test_a_private_repository_is_read_with_its_token(place: Place) -> None:
    place.server.token = TOKEN
    place.origin.commit({"agents/a.md": agent()})
    assert place.sync("failed")["error_code"] == "repository_auth_failed"

    def credential(token: str, **more: Any) -> None:
        sealed = Fernet(more.pop("key", KEY)).encrypt(token.encode()).decode()
        place.lab.post("rpc/set_git_credential", repository_id=place.id, encrypted_token=sealed, **more)

    credential("another")
    wrong = place.sync("failed")
    assert (wrong["error_code"], wrong["attempt"]) == ("repository_auth_failed", 1)
    assert "wrong, has expired" in wrong["error_message"]
    credential(TOKEN, expires_at="2025-01-01")
    asked = len(place.server.asked)
    assert "expired on 2025-01-01" in place.sync("failed")["error_message"]
    credential(TOKEN, key=Fernet.generate_key())
    assert "cannot be decrypted" in place.sync("failed")["error_message"]
    assert len(place.server.asked) == asked  # Neither went out.
    credential(TOKEN, username="bot")
    task = place.sync()
    assert place.server.sent[-1] == f"bot:{TOKEN}"
    (row,) = place.lab.sql.execute(
        "select last_used_at from public.git_credentials where repository_id = %s", (place.id,)
    )
    assert row["last_used_at"] is not None
    left = json.dumps([place.state(), place.lab.events(task["id"]), task], default=str)
    assert TOKEN not in left + place.lab.own_workers[0].log.read_text()


@on_dulwich
def test_a_host_that_is_away_is_asked_again(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent()})
    place.server.statuses = [503]
    answer = place.lab.post("rpc/sync_repository", repository_id=place.id)
    place.lab.sql.execute("update public.tasks set backoff = '0' where id = %s", (answer["task_id"],))
    assert place.lab.await_task(answer["task_id"])["attempt"] == 2
    nowhere = "update public.agent_repositories set git_url = 'http://127.0.0.1:9/none.git' where id = %s"
    place.lab.sql.execute(nowhere, (place.id,))
    answer = place.lab.post("rpc/sync_repository", repository_id=place.id)
    place.lab.sql.execute("update public.tasks set backoff = '0', max_attempts = 2 where id = %s", (answer["task_id"],))
    task = place.lab.await_task(answer["task_id"], "failed")
    assert (task["error_code"], task["attempt"]) == ("repository_unreachable", 2)
    assert (place.state()["last_sync_status"], place.agents()["Writer"]["status"]) == ("failure", "active")


@on_dulwich
def test_one_bad_file_never_stops_the_rest(place: Place) -> None:
    origin = place.origin
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    laughs += "\n".join(f"{new}: &{new} [{', '.join(9 * ['*' + old])}]" for old, new in pairwise("abcdefghi"))
    good = [(f"a{number}.md".encode(), FILE, origin.blob(agent(f"Good {number}"))) for number in range(3)]
    bad = {
        "b1.md": agent("Good 1"),
        "b2.md": f"---\n{laughs}\nname: x\n---\nx",
        "b3.md": agent(model="nobody"),
        "b4.md": "version https://git-lfs.github.com/spec/v1\n",
        "b5.md": agent("Good 9", ""),
        "b6.md": agent("x" * 300),
    }
    entries = [(name.encode(), FILE, origin.blob(content)) for name, content in bad.items()]
    entries += [(b"l.md", SYMLINK, origin.blob("../../../etc/passwd")), (b"s.md", SUBMODULE, b"1" * 40)]
    entries.append((b"..", FOLDER, origin.folder({"up.md": agent("Up")})))
    origin.commit(origin.tree([(b"agents", FOLDER, origin.tree([*good, *entries]))]))
    done = place.sync()
    assert (done["response_metadata"]["written"], done["response_metadata"]["problems"]) == (3, 9)
    assert place.agents().keys() == {"Good 0", "Good 1", "Good 2"}
    assert place.problems() == {
        "agents/b1.md": "name_repeated",
        "agents/b2.md": "front_matter_too_large",
        "agents/b3.md": "provider_unknown",
        "agents/b4.md": "lfs_pointer",
        "agents/b5.md": "prompt_missing",
        "agents/b6.md": "key_invalid",
        "agents/l.md": "symlink",
        "agents/s.md": "submodule",
        "agents/..": "path_not_allowed",
    }


@on_dulwich
def test_a_file_that_was_spoilt_keeps_its_agent_as_it_was(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent(), "agents/b.md": agent("Other")})
    place.sync()
    place.origin.commit({"agents/a.md": "---\nname: [\n---\n", "agents/b.md": "no agent any more"})
    place.sync()
    assert {name: row["status"] for name, row in place.agents().items()} == {"Writer": "active", "Other": "inactive"}
    assert place.problems() == {"agents/a.md": "front_matter_invalid"}


@on_dulwich
def test_names_change_places_between_files(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent("One", "1"), "agents/b.md": agent("Two", "2")})
    place.sync()
    place.origin.commit({"agents/a.md": agent("Two", "1"), "agents/b.md": agent("One", "2")})
    place.sync()
    assert {name: row["context"] for name, row in place.agents().items()} == {"One": "2", "Two": "1"}
    assert place.problems() == {}


@on_dulwich
def test_a_repository_that_is_removed_meanwhile_ends_the_sync_quietly(place: Place) -> None:
    place.origin.commit({"agents/a.md": agent()})
    sync = place.lab.post("rpc/sync_repository", repository_id=place.id)
    place.lab.sql.execute("delete from public.agent_repositories where id = %s", (place.id,))
    assert place.lab.await_task(sync["task_id"])["status"] == "completed"


@on_dulwich
def test_many_files_are_synced_and_one_change_is_one_change(place: Place) -> None:
    files = {f"agents/{number % 50}/{number}.md": agent(f"n{number}", "You write. " * 20) for number in range(250)}
    place.origin.commit(files)
    assert place.sync()["response_metadata"]["written"] == 250
    assert len(place.agents()) == 250
    del files["agents/0/0.md"]
    place.origin.commit({**files, "agents/1/1.md": agent("n1", "Changed.")})
    rows = place.rows()
    done = place.sync()
    assert (done["response_metadata"]["written"], done["response_metadata"]["removed"]) == (1, 1)
    assert len(place.rows() - rows) == 5  # Two rows of files, two agents, one version.
