"""Real git servers on 127.0.0.1, and repositories of whatever a test wants, also of what git itself would refuse."""

from __future__ import annotations

import base64
import os
import shutil
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import HTTPGitApplication

FILE, SYMLINK, SUBMODULE, FOLDER = 0o100644, 0o120000, 0o160000, 0o040000
GIT = shutil.which("git")
Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


def agent(name: str = "Writer", prompt: str = "You write.", **front: Any) -> str:
    """Return a file that is an agent; a key that is None is left out."""
    keys = {"name": name, "model": "claude-sonnet-4-5", **front}
    lines = [f"{key}: {value}" for key, value in keys.items() if value is not None]
    return "\n".join(["---", *lines, "---", prompt, ""])


class Origin:
    """A bare repository; each `commit` replaces the whole content of a branch."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.repo = Repo.init_bare(folder)
        self.repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]
        self.path = folder

    def blob(self, content: str | bytes) -> bytes:
        blob = Blob.from_string(content.encode() if isinstance(content, str) else content)
        self.repo.object_store.add_object(blob)
        return bytes(blob.id)

    def tree(self, entries: Iterable[tuple[bytes, int, bytes]]) -> bytes:
        """Make a folder of (name, mode, id), without a look at the names."""
        tree = Tree()
        for name, mode, sha in entries:
            tree.add(name, mode, sha)  # type: ignore[arg-type]
        self.repo.object_store.add_object(tree)
        return bytes(tree.id)

    def folder(self, files: Mapping[str, str | bytes]) -> bytes:
        """Make the folders of {path: content}."""
        inner: dict[str, dict[str, str | bytes]] = {}
        entries: list[tuple[bytes, int, bytes]] = []
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                inner.setdefault(head, {})[rest] = content
            else:
                entries.append((head.encode(), FILE, self.blob(content)))
        entries += [(name.encode(), FOLDER, self.folder(below)) for name, below in inner.items()]
        return self.tree(entries)

    def commit(self, files: Mapping[str, str | bytes] | bytes, branch: str = "main", *, parent: bool = True) -> str:
        """Commit files, or a tree that there is; without `parent` it is a history of its own, as after a force-push."""
        ref = f"refs/heads/{branch}".encode()
        commit = Commit()
        commit.tree = files if isinstance(files, bytes) else self.folder(files)
        commit.author = commit.committer = b"A <a@example.com>"
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"change"
        if parent and ref in self.repo.refs.as_dict():
            commit.parents = [self.repo.refs[ref]]  # type: ignore[index]
        self.repo.object_store.add_object(commit)
        self.repo.refs[ref] = commit.id  # type: ignore[index]
        return commit.id.decode()

    def remove_branch(self, branch: str) -> None:
        del self.repo.refs[f"refs/heads/{branch}".encode()]  # type: ignore[arg-type]


@dataclass
class GitServer:
    """Where repositories are served, each as /NAME.git, and who asked for what; without its `token` nobody is."""

    folder: Path
    url: str = ""
    token: str | None = None
    statuses: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sent: list[str | None] = field(default_factory=list)

    def add(self, name: str = "agents") -> Origin:
        return Origin(self.folder / f"{name}.git")

    def address(self, name: str = "agents") -> str:
        return f"{self.url}/{name}.git"

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}" + (f"?{query}" if query else ""))
        authorization = environ.get("HTTP_AUTHORIZATION")
        self.sent.append(base64.b64decode(authorization.removeprefix("Basic ")).decode() if authorization else None)
        status = self.statuses.pop(0) if self.statuses else 200
        if self.token is not None and (self.sent[-1] or "").rpartition(":")[2] != self.token:
            status = 401
        if status == 200 and not (self.folder / path.split("/")[1]).is_dir():
            status = 404
        if status != 200:
            start_response(f"{status} No", [("Content-Type", "text/plain")])
            return [b"no"]
        return self.app(environ, start_response)

    def app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer as dulwich's own server does: version 0 and 1 of the protocol, no filters."""
        name = "/" + environ["PATH_INFO"].split("/")[1]
        with Repo(str(self.folder / name[1:])) as repo:
            environ["wsgi.input"] = _Bounded(environ)
            backend = DictBackend({name: repo})  # type: ignore[arg-type] # Its protocol is not quite its own class's.
            return list(HTTPGitApplication(backend)(environ, start_response))


class RealGit(GitServer):
    """git's own server: version 2 of the protocol, with filters."""

    def app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        assert GIT is not None
        given = {name: value for name, value in environ.items() if isinstance(value, str) and name.isupper()}
        command = {"GIT_PROJECT_ROOT": str(self.folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
        settings = {"uploadpack.allowFilter": "true", "safe.directory": "*"}
        for number, (key, value) in enumerate(settings.items()):
            command |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        command["GIT_CONFIG_COUNT"] = str(len(settings))
        if "HTTP_GIT_PROTOCOL" in environ:
            command["GIT_PROTOCOL"] = environ["HTTP_GIT_PROTOCOL"]
        body = _Bounded(environ).read()
        run = subprocess.run(
            [GIT, "http-backend"], input=body, env={**given, **command}, capture_output=True, check=True
        )
        head, _, content = run.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.decode().split(": ", 1)) for line in head.split(b"\r\n")]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        start_response(status, [(name, value) for name, value in headers if name != "Status"])
        return [content]


class _Bounded:
    """The body of a request, which ends."""

    def __init__(self, environ: Environ) -> None:
        self._input = environ["wsgi.input"]
        self._left = int(environ.get("CONTENT_LENGTH") or 0)

    def read(self, size: int = -1) -> bytes:
        taken: bytes = self._input.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(taken)
        return taken


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: tests look at what the client made of it."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serve_git(
    folder: Path, kind: type[GitServer] = GitServer, *, tls: ssl.SSLContext | None = None, token: str | None = None
) -> Iterator[GitServer]:
    """Serve a folder for the length of the block; `url` says http:// also with `tls`."""
    server = kind(folder, token=token)
    http = make_server("127.0.0.1", 0, server, server_class=_Threaded, handler_class=_Quiet)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
