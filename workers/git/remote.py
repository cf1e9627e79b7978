"""Reads a branch of a git repository over smart HTTP, by the guarded door.

The protocol is dulwich's, which is synchronous: it runs in a thread, and its requests are made on the loop.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx
from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError, HangupException
from dulwich.object_store import ObjectStoreGraphWalker

from workers.agents.retry_after import read_retry_after
from workers.door import DoorError, door_failure
from workers.errors import TaskFailure
from workers.git.place import MAX_PACK_BYTES, Place

T = TypeVar("T")

MAX_REFS_BYTES = 16_000_000
# Larger files are not sent by servers that can leave them out; no agent is as large.
_FILTER = b"blob:limit=262144"
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})
_MISSING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Remote:
    """One repository on its host; use as a context manager, for one attempt. `http` is a client of the door."""

    def __init__(self, place: Place, http: httpx.AsyncClient, *, max_pack_bytes: int = MAX_PACK_BYTES) -> None:
        self._place = place
        self._max_pack_bytes = max_pack_bytes
        self._bridge = _Bridge(asyncio.get_running_loop())
        self._client = _GitClient(place, http, self._bridge)
        # One of its own, so that hosts that hang keep nobody else waiting.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="git")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bridge.stop()
        self._thread.shutdown(wait=False)

    async def fetch(self, known: str | None, pack: IO[bytes]) -> str:
        """Return the head of the branch; unless it is `known`, write its commit without history to `pack`.

        Raises:
            TaskFailure: repository_auth_failed, repository_branch_missing, repository_empty, repository_not_found,
                repository_too_large, repository_unreachable, repository_unreadable, and those of the door.
        """
        return await self._in_thread(lambda: self._fetch(known, pack))

    def _fetch(self, known: str | None, pack: IO[bytes]) -> str:
        head: list[bytes] = []

        def wanted(refs: dict[bytes, bytes], depth: int | None = None) -> list[bytes]:  # noqa: ARG001 - dulwich's
            if self._place.ref not in refs:
                raise self._missing()
            head.append(refs[self._place.ref])
            self._client.may_take = self._max_pack_bytes
            return [] if head[0].decode() == known else head

        result = self._client.fetch_pack(
            "",
            wanted,  # type: ignore[arg-type] # Its ids are bytes of a type of their own.
            ObjectStoreGraphWalker([], lambda _: []),
            pack.write,
            depth=1,
            ref_prefix=[self._place.ref],
            filter_spec=_FILTER,
        )
        if result.object_format is not None and result.object_format != "sha1":
            raise TaskFailure("repository_unreadable", "The repository uses SHA-256, which is not supported yet.")
        return head[0].decode()

    def _missing(self) -> TaskFailure:
        refs = self._client.get_refs("", ref_prefix=[b"refs/heads/"]).refs
        branches = sorted(ref.removeprefix(b"refs/heads/").decode(errors="replace")[:100] for ref in refs if ref)
        branches = [branch for branch in branches if branch != "HEAD"]
        if not branches:
            return TaskFailure("repository_empty", "The repository has no branch yet: push a first commit.")
        return TaskFailure(
            "repository_branch_missing",
            f"The repository has no branch {self._place.branch!r}. It has {', '.join(branches[:5])}"
            + (", …" if len(branches) > 5 else "")
            + ": set the repository's branch, or push it. The agents stay as they were.",
            data={"branches": branches[:50]},
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            await asyncio.wait({running})
        finally:
            if not running.done():  # Stopped from outside: its next step in the thread ends it.
                self._bridge.stop()
                await asyncio.wait({running}, timeout=2)
                running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            return running.result()
        except TaskFailure:
            raise
        except Exception as error:
            raise _translate(error) from None


class _Bridge:
    """Lets a thread wait for what runs on the loop, until it is stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stopped = False
        self._waiting: set[concurrent.futures.Future[Any]] = set()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` gives on the loop; called from a thread."""
        if self._stopped:
            work.close()
            raise concurrent.futures.CancelledError
        pending = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waiting.add(pending)
        if self._stopped:
            pending.cancel()
        try:
            return pending.result()
        finally:
            self._waiting.discard(pending)

    def stop(self) -> None:
        """End what is waited for, and whatever comes after it."""
        self._stopped = True
        for pending in list(self._waiting):
            pending.cancel()


class _Answer:
    """An answer as dulwich takes one: its body comes in the sizes that are asked for."""

    def __init__(self, response: httpx.Response, asked: str, bridge: _Bridge, most: int) -> None:
        self.content_type = response.headers.get("content-type")
        self.redirect_location = str(response.url) if str(response.url) != asked else ""
        self._response = response
        self._chunks = response.aiter_bytes(65_536)
        self._bridge = bridge
        self._left = most
        self._chunk = b""
        self._place = 0  # in the chunk

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes, less only at the end."""
        pieces = []
        while size:
            if self._place == len(self._chunk):
                self._chunk, self._place = self._bridge.wait(self._next()), 0
                if not self._chunk:
                    break
            piece = self._chunk[self._place : self._place + size]
            self._place += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of the connection."""
        self._bridge.wait(self._response.aclose())

    async def _next(self) -> bytes:
        chunk = await anext(self._chunks, b"")
        self._left -= len(chunk)
        if self._left < 0:
            raise _too_large()
        return chunk


class _GitClient(AbstractHttpGitClient):
    """dulwich's client, whose requests go through the door; `may_take` is how large an answer may be."""

    def __init__(self, place: Place, http: httpx.AsyncClient, bridge: _Bridge) -> None:
        # Nothing is here that a thin pack could build on, so that none comes; but some servers insist.
        super().__init__(place.url, thin_packs=True, quiet=True)
        self.may_take = MAX_REFS_BYTES
        self._place = place
        self._http = http
        self._bridge = bridge
        self._origin = _origin(httpx.URL(place.url))

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002 - dulwich's
    ) -> Any:
        sent = {"User-Agent": "git/orchestrator", **(headers or {})}
        if self._place.token is not None and _origin(httpx.URL(url)) == self._origin:
            sent["Authorization"] = _basic(self._place.username or "oauth2", self._place.token)
        if data is not None and not isinstance(data, bytes):
            data = b"".join(data)
        answer = self._bridge.wait(self._send(url, sent, data))
        return answer, answer.read

    async def _send(self, url: str, headers: dict[str, str], data: bytes | None) -> _Answer:
        request = self._http.build_request("GET" if data is None else "POST", url, headers=headers, content=data)
        response = await self._http.send(request, stream=True)
        if response.status_code != HTTPStatus.OK:
            await response.aclose()
            raise self._refused(response)
        # A server that is none for git is not asked for its files one by one.
        if not response.headers.get("content-type", "").startswith("application/x-git-"):
            await response.aclose()
            raise TaskFailure("repository_unreadable", "What answers at git_url is no git server: correct the address.")
        return _Answer(response, url, self._bridge, self.may_take)

    def _refused(self, response: httpx.Response) -> TaskFailure:
        status = response.status_code
        data = {"status": status}
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            problem = (
                "The repository cannot be read without a credential: an admin sets one with set_git_credential."
                if self._place.token is None
                else "The repository's host does not accept the credential: its token is wrong, has expired, or may "
                "not read this repository. An admin sets a new one with set_git_credential."
            )
            return TaskFailure("repository_auth_failed", problem, data=data)
        if status in _MISSING:
            private = "" if self._place.token else " A private repository needs a credential (set_git_credential)."
            return TaskFailure("repository_not_found", f"There is no repository at git_url.{private}", data=data)
        if status in _PASSING:
            wait = read_retry_after(response.headers.get("retry-after"))
            problem = f"The repository's host answered with status {status}."
            return TaskFailure("repository_unreachable", problem, retryable=True, retry_after=wait, data=data)
        return TaskFailure("repository_unreadable", f"The repository's host answered with status {status}.", data=data)

    @staticmethod
    def _warn_filter_objects() -> None:
        """Say nothing: without the filter the cap on the pack is what counts."""


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _too_large() -> TaskFailure:
    return TaskFailure(
        "repository_too_large",
        f"The branch has more than {MAX_PACK_BYTES // 1_000_000} MB, compressed and without its history. Keep agents "
        "in a repository of their own. The agents stay as they were.",
    )


def _translate(error: Exception) -> TaskFailure:
    """Return how an attempt ends because of what the door, the network or dulwich raised."""
    if isinstance(error, DoorError) and error.code == "response_too_large":
        return _too_large()
    if (failure := door_failure(error)) is not None:
        return failure
    if isinstance(error, httpx.HTTPError | HangupException | OSError):
        reason = type(error).__name__
        return TaskFailure(
            "repository_unreachable", "The repository's host does not answer.", retryable=True, data={"reason": reason}
        )
    said = str(error)[:200] if isinstance(error, GitProtocolError) else type(error).__name__
    return TaskFailure(
        "repository_unreadable", f"What the repository's host sent is not git's protocol: {said}", retryable=True
    )
