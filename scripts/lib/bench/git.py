"""What a sync of a repository takes in which no agent changed, beside a plain clone of it from the same server."""

import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich import porcelain
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import HTTPGitApplication
from psycopg.types.json import Jsonb

from bench.options import Options
from bench.parts import part
from bench.queue.database import ORGANIZATION, USER, Database
from bench.queue.lab import opened
from bench.queue.ours import KEPT
from bench.results import Result, at_most, plain
from localstack.instance import Instance

FILES = 1000
SECONDS = 3.0
END_SECONDS = 120.0
REPEATS = 5

_MAIN = Ref(b"refs/heads/main")
_AGENT = "---\nname: Agent {0}\nmodel: claude-sonnet-4-5\ntags: [bench]\n---\n{1}\n"
_ADD = "insert into public.agent_repositories (organization_slug, name, git_url) values (%s, 'bench', %s) returning id"
_TASK = """
insert into public.tasks (organization_slug, user_id, method, prompt, params)
values (%s, %s, 'sync_repository', 'Sync', %s) returning id
"""
_DONE = """
select status, error_message, extract(epoch from completed_at - started_at)::float as seconds
from public.tasks where id = %s and completed_at is not null
"""
_ROWS = """
select count(*) as rows, max(w.version) as version from (
  select xmin::text::bigint as version from public.agents
  union all select xmin::text::bigint from public.git_agents
  union all select xmin::text::bigint from public.agent_versions
) w
"""


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Every part in turn; under a minute."""
    with opened(stack, options) as lab, tempfile.TemporaryDirectory() as folder:
        return unchanged(lab.stack, lab.database, Path(folder), options)


def unchanged(stack: Instance, database: Database, folder: Path, options: Options) -> list[Result]:
    """Syncs of 1,000 files of which none changed: of the same commit, and of another one."""
    files = options.scale(FILES, 50)
    origin = _Origin(folder / "origin.git", files)
    origin.commit("first")
    with _serving(origin.repo) as url, _worker(stack, folder):
        with part("first sync"):
            repository = _row(database, _ADD, ORGANIZATION, url)[0]
            first = _sync(database, repository)
        rows = _row(database, _ROWS)
        with part("clone"):
            clone = min(_clone(url, folder / f"clone-{number}") for number in range(REPEATS))
        with part("syncs"):
            same = [_sync(database, repository) for _ in range(REPEATS)]
            other = []
            for number in range(REPEATS):
                origin.commit(f"another {number}")
                other.append(_sync(database, repository))
        written = 0 if _row(database, _ROWS) == rows else 1
    name = f"sync of {files:,} unchanged files"
    return [
        plain(f"first sync of {files:,} files", first, "s"),
        plain("plain clone", clone, "s"),
        at_most(f"{name}, same commit: slowest", max(same), "s", SECONDS),
        at_most(f"{name}, another commit: slowest", max(other), "s", SECONDS),
        plain(f"{name}, same commit: against a clone", min(same) / clone, "x"),
        plain(f"{name}, another commit: against a clone", min(other) / clone, "x"),
        at_most(f"{name}: rows of agents written", written, "", 0),
    ]


class _Origin:
    """A repository of so many agents; each commit changes one other file."""

    def __init__(self, folder: Path, files: int) -> None:
        self.repo = Repo.init_bare(folder, mkdir=True)
        self._agents = Tree()
        for number in range(files):
            self._agents.add(f"{number}.md".encode(), 0o100644, self._blob(_AGENT.format(number, "You write. " * 30)))
        self.repo.object_store.add_object(self._agents)

    def commit(self, readme: str) -> None:
        """Commit the same agents beside another file."""
        root, commit = Tree(), Commit()
        root.add(b"agents", 0o040000, self._agents.id)
        root.add(b"README.txt", 0o100644, self._blob(readme))
        commit.tree, commit.message = root.id, b"change"
        commit.author = commit.committer = b"A <a@example.com>"
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        for made in (root, commit):
            self.repo.object_store.add_object(made)
        self.repo.refs[_MAIN] = commit.id
        self.repo.refs.set_symbolic_ref(Ref(b"HEAD"), _MAIN)

    def _blob(self, text: str) -> ObjectID:
        blob = Blob.from_string(text.encode())
        self.repo.object_store.add_object(blob)
        return blob.id


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def _serving(repo: Repo) -> Iterator[str]:
    backend = DictBackend({"/bench.git": repo})  # type: ignore[arg-type] # Its protocol is not quite its own class's.
    application = HTTPGitApplication(backend)
    server = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/bench.git"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _worker(stack: Instance, folder: Path) -> Iterator[None]:
    """A worker as people run one."""
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {
        "SUPABASE_URL": stack.url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.keys.service_role_key,
        "ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1",
        "LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "workers", "run", "--poll-interval", "0.1", "--concurrency", "2"]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _row(database: Database, query: str, *values: object) -> tuple[Any, ...]:
    """The one row that a query gives."""
    (row,) = database.connection.execute(query, values).fetchall()
    return row


def _sync(database: Database, repository: object) -> float:
    """Sync, and return how many seconds the attempt took."""
    params = Jsonb({"repository_id": str(repository)})
    task = _row(database, _TASK, ORGANIZATION, USER, params)
    until = time.monotonic() + END_SECONDS
    while (done := database.connection.execute(_DONE, (task[0],)).fetchone()) is None:
        if time.monotonic() > until:
            raise SystemExit(f"bench: a sync was not over within {END_SECONDS:g} seconds")
        time.sleep(0.02)
    if done[0] != "completed":
        raise SystemExit(f"bench: a sync ended as {done[0]}: {done[1]}")
    return float(done[2])


def _clone(url: str, folder: Path) -> float:
    """Clone without history, and return how many seconds that took."""
    began = time.perf_counter()
    porcelain.clone(url, str(folder), depth=1, errstream=io.BytesIO()).close()
    return time.perf_counter() - began
