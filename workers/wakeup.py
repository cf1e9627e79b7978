"""Wake-up: a session of its own in Postgres that hears of new tasks, so that an idle worker need not wait for its poll.

It only saves waiting: whatever it misses, the next poll finds. The database sends on the channel only while some
session holds the lock that is taken here (`private.somebody_listens`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, LiteralString

from structlog.typing import FilteringBoundLogger

from workers.backoff import Backoff

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_LISTEN = "listen orchestrator_tasks"
_SAY_SO = "select pg_advisory_lock_shared(hashtextextended('orchestrator_tasks', 0))"
_SESSION = "select pg_backend_pid()"

_CHECK_SECONDS = 30.0  # How often a silent session is asked whether it is still there.
_GAP_SECONDS = 0.01  # How long one wake-up stands for those that follow it.
_TRANSACTION_POOLER_PORT = "6543"
_NO_PACKAGE = "DATABASE_URL is set, but the package that listens is not installed: pip install -e '.[listen]'"
_NO_SESSION = (
    "DATABASE_URL leads through a pooler in transaction mode, where nothing can be listened to: "
    "use the direct connection, or the pooler's session mode (port 5432 on Supabase)"
)
_NO_URL = "DATABASE_URL cannot be read: it has the form postgresql://user:password@host:5432/database"


@contextmanager
def wake_up(url: str | None, wake: Callable[[], None], log: FilteringBoundLogger) -> Iterator[None]:
    """Call `wake`, from a thread of its own, whenever a task may have become claimable.

    Without `url`, or where it cannot work (said once in the log), nothing is called and polling does it all.
    """
    problem = None if url is None else _problem(url)
    if url is None or problem is not None:
        if problem is not None:
            log.warning("wake_up_off", reason=problem)
        yield
        return
    listener = _Listener(url, wake, log)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def _problem(url: str) -> str | None:
    """Say why this address cannot be listened at, as far as can be seen without trying."""
    try:
        from psycopg import ProgrammingError  # noqa: PLC0415 - an optional package
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
    except ImportError:
        return _NO_PACKAGE
    try:
        port = conninfo_to_dict(url).get("port")
    except ProgrammingError:
        return _NO_URL  # The error quotes the address, password and all.
    return _NO_SESSION if str(port) == _TRANSACTION_POOLER_PORT else None


class _SessionChangedError(Exception):
    """Two statements of one connection were run by two sessions."""


class _Listener:
    """Keeps one listening session, and makes another whenever it is lost."""

    def __init__(self, url: str, wake: Callable[[], None], log: FilteringBoundLogger) -> None:
        self._url = url
        self._wake = wake
        self._log = log
        self._backoff = Backoff(cap=30.0)
        self._listened = False
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="wake-up", daemon=True)
        self._running = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._thread.start()
        self._running.wait()

    def stop(self) -> None:
        """End the session; called once."""
        if self._thread.is_alive() and self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._task = self._loop.create_task(self._keep_listening())
            self._running.set()
            try:
                self._loop.run_until_complete(self._task)
            except asyncio.CancelledError:
                return
            except Exception as error:
                # A bug of ours costs the wake-up, never the worker.
                self._log.error("wake_up_off", reason="internal error", exc_info=error)

    async def _keep_listening(self) -> None:
        """Listen, again and again, until cancelled or until it turns out that nothing can be heard."""
        from psycopg import AsyncConnection, Error  # noqa: PLC0415 - an optional package

        while True:
            try:
                connection = await AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    application_name="orchestrator-worker wake-up",
                    connect_timeout=10,
                    keepalives=1,
                    keepalives_idle=20,
                    keepalives_interval=5,
                    keepalives_count=3,
                )
                try:
                    await self._listen(connection)
                finally:
                    await connection.close()
            except _SessionChangedError:
                self._log.warning("wake_up_off", reason=_NO_SESSION)
                return
            except (Error, OSError) as error:
                self._tell_away(error)
            await asyncio.sleep(self._backoff.next())

    async def _listen(self, connection: AsyncConnection) -> None:
        """Hear until the session is lost."""
        session = await _value(connection, _SESSION)
        await connection.execute(_LISTEN)
        await connection.execute(_SAY_SO)
        self._tell_ready()
        self._wake()  # For what was said while nobody heard.
        while True:
            heard = False
            async for _ in connection.notifies(timeout=_CHECK_SECONDS, stop_after=1):
                heard = True
            if heard:
                self._wake()
                await asyncio.sleep(_GAP_SECONDS)
            elif await _value(connection, _SESSION) != session:
                raise _SessionChangedError

    def _tell_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            reason = "connection lost" if self._listened else "cannot connect with DATABASE_URL"
            # Not the error's text: it may repeat what the address holds.
            self._log.warning("wake_up_away", reason=reason, error=type(error).__name__)

    def _tell_ready(self) -> None:
        self._backoff.reset()
        self._listened = True
        if self._away_since is None:
            self._log.info("wake_up_on")
        else:
            self._log.info("wake_up_back", away_seconds=round(time.monotonic() - self._away_since, 1))
            self._away_since = None


async def _value(connection: AsyncConnection, query: LiteralString) -> object:
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None
