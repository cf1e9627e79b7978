"""Runs the A2A server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from workers.a2a.app import build_app
from workers.a2a.database import Database
from workers.a2a.follow import Followers
from workers.a2a.settings import A2ASettings
from workers.errors import SettingsError
from workers.logs import build_logger

_GRACE_SECONDS = 10


async def serve(settings: A2ASettings) -> None:
    """Serve until SIGTERM or SIGINT: streams are ended with a word to come back, running requests get their answer.

    Raises:
        SettingsError: nothing can be served at that address.
    """
    log = build_logger(settings.log_format, settings.log_level)  # type: ignore[arg-type]  # one of its choices
    # The SDK logs what clients send.
    logging.getLogger("a2a").setLevel(logging.CRITICAL + 1)
    async with Database(settings.supabase_url, settings.anon_key, settings.request_timeout) as database:
        followers = Followers(
            database,
            interval=settings.poll_interval,
            most=settings.max_streams,
            most_per_user=settings.max_streams_per_user,
        )
        server = _Server(settings, build_app(settings, database, followers, log), followers)
        try:
            await server.serve()
        except SystemExit:  # What uvicorn does when the port is taken.
            raise SettingsError(
                f"A2A_PORT cannot be served: {settings.host} port {settings.port}. Is it taken?"
            ) from None
        log.info("stopped")


class _Server(uvicorn.Server):
    def __init__(self, settings: A2ASettings, app: Starlette, followers: Followers) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=15,
                # Streams, and as many short requests; more are told 503 at once.
                limit_concurrency=2 * settings.max_streams + 100,
                h11_max_incomplete_event_size=65536,
                server_header=False,
            )
        )
        self._followers = followers
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, _signal: int, _frame: FrameType | None) -> None:
        """Let streams and waiting requests end before the connections are closed; the second time end at once.

        Without uvicorn's own part, which raises the signal again at the end: leaving when told to is no failure.
        """
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._followers.leave)
