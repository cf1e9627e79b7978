"""Connects: a name is resolved once, all its addresses are checked, and one of those checked is connected to.

Between the check and the connection no name is resolved again, so DNS that changes its mind changes nothing. TLS
still asks for a certificate of the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

import httpcore

from workers.door.addresses import Address, check_address, literal_address
from workers.door.errors import DoorError
from workers.door.seats import Seats

Resolve = Callable[[str], Awaitable[Sequence[str]]]
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

# Who a connection is made for: the pool, which stands between, connects in the task that asks for it.
on_behalf_of: ContextVar[str] = ContextVar("on_behalf_of", default="")

_MAX_TRIES = 4
_LOOKUPS = 32
_GATHERED_BYTES = 65_536


class Resolver:
    """Looks names up in threads of its own, since a lookup that hangs cannot be called off.

    Those who ask for the same name wait for one lookup, and no organization takes all threads.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="door-lookup")
        self._seats = Seats(_LOOKUPS)
        self._running: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of a name; raises OSError when it has none."""
        lookup = self._running.get(host)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(host, on_behalf_of.get()))
            self._running[host] = lookup
            lookup.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Begin nothing more."""
        for lookup in self._running.values():
            lookup.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, key: str) -> Sequence[str]:
        await self._seats.take(key)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host)
        finally:
            self._seats.give_back(key)
        return found

    def _forget(self, host: str, done: asyncio.Task[Sequence[str]]) -> None:
        self._running.pop(host, None)
        if not done.cancelled():
            done.exception()  # Those who asked may all be gone.


def _addresses(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """What the pool connects with; `dial` makes the connection to an address that was checked."""

    def __init__(self, *, allow_private: bool, resolve: Resolve, dial: httpcore.AsyncNetworkBackend) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._dial = dial

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers; `timeout` holds for all of it, the lookup included.

        Raises:
            DoorError: address_not_allowed when any of the addresses is not public.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        addresses = await self._checked(host, deadline)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for number, address in enumerate(addresses):
            # What is left is shared by those not yet tried, so that one that swallows packets does not take it all.
            left = None if deadline is None else max(0.01, deadline - loop.time()) / (len(addresses) - number)
            try:
                stream = await self._dial.connect_tcp(str(address), port, left, local_address, socket_options)
                return _Gathered(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - this one and those below: the interface of httpcore
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nothing outside is reached by a path."""
        raise DoorError("address_not_allowed", "Sockets of this machine are not reached.")

    async def sleep(self, seconds: float) -> None:
        """Wait, as the pool does between tries."""
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, deadline: float | None) -> list[Address]:
        literal = literal_address(host.removesuffix("."))
        if literal is not None:
            addresses: list[Address] = [literal]
        else:
            try:
                async with asyncio.timeout_at(deadline):
                    found = await self._resolve(host)
            except TimeoutError as error:
                raise httpcore.ConnectTimeout("the name was not resolved in time") from error
            except (OSError, UnicodeError) as error:
                raise httpcore.ConnectError("the name cannot be resolved") from error
            addresses = [ip_address(text.partition("%")[0]) for text in found]
        for address in addresses:
            check_address(address, allow_private=self._allow_private)
        return addresses[:_MAX_TRIES]


class _Gathered(httpcore.AsyncNetworkStream):
    """A connection that sends the head and the content of a request at once, when an answer is waited for.

    The HTTP library writes them one by one; each write is a system call and a packet.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unsent = b""
        self._timeout: float | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Send what is unsent, then wait for the next bytes."""
        if self._unsent:
            with suppress(httpcore.WriteError):  # The answer may have come before: it is read all the same.
                await self._send()
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Keep bytes to be sent, or send them when there are many."""
        self._unsent += buffer
        self._timeout = timeout
        if len(self._unsent) >= _GATHERED_BYTES:
            await self._send()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Return the same connection, encrypted."""
        return _Gathered(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._stream.get_extra_info(info)

    async def _send(self) -> None:
        data, self._unsent = self._unsent, b""
        await self._stream.write(data, self._timeout)
