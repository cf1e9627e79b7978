"""A small internet for tests of the door: names, public addresses that lead to servers on 127.0.0.1, and a CA."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.http_server import Reply, Seen, Server, serve
from workers.door import Door

# For doors that need not believe any certificate: those of the machine take long to load.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PUBLIC, OTHER = "93.184.215.14", "142.250.1.1"


class Names:
    """A resolver: each name gives its answers in turn, the last one for ever."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(turns) for name, turns in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        turns = self._answers.get(host)
        if not turns:
            raise OSError(f"no such name: {host}")
        return turns.pop(0) if len(turns) > 1 else turns[0]


class Wires(httpcore.AsyncNetworkBackend):
    """Connects public addresses to ports of 127.0.0.1, and notes each address that was to be connected to."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports)
        self._real = httpcore.AnyIOBackend()
        self.dialled: list[str] = []

    def rewire(self, address: str, server: Server) -> None:
        """Let an address lead to another server."""
        self._ports[address] = int(server.url.rpartition(":")[2])

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append(host)
        if host not in self._ports:
            raise httpcore.ConnectError(f"nobody at {host}:{port}")
        return await self._real.connect_tcp("127.0.0.1", self._ports[host], timeout, local_address, socket_options)


class Authority:
    """A certificate authority that signs for the names it is asked to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self._own = self._certificate(self._name, self._key.public_key(), days=1, authority=True)

    def trusted(self) -> ssl.SSLContext:
        """Return what a client needs to believe this authority."""
        pem = self._own.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, *hosts: str, days: int = 1) -> ssl.SSLContext:
        """Return what a server needs to be these names, or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._certificate(subject, key.public_key(), hosts, days)
        file = self._folder / f"{hosts[0]}-{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        hosts: Sequence[str] = (),
        days: int = 1,
        authority: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        until = now + dt.timedelta(days=days)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(min(now, until) - dt.timedelta(days=2)).not_valid_after(until)
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if hosts:
            names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Internet:
    """A closed door and what is behind it; `names` and `wires` tell what was asked and connected to."""

    def __init__(self, door: Door, names: Names, wires: Wires, servers: Mapping[str, Server]) -> None:
        self.door = door
        self.names = names
        self.wires = wires
        self.servers = servers


@contextmanager
def internet(
    authority: Authority,
    sites: Mapping[str, Callable[[Seen], Reply]],
    names: Mapping[str, Sequence[Sequence[str]]] | None = None,
    **options: Any,
) -> Iterator[Internet]:
    """Run a TLS server for each site (a name), at PUBLIC, OTHER or what `names` says, and give a door to them.

    The first site is at PUBLIC, the second at OTHER.
    """
    addresses = dict(zip(sites, (PUBLIC, OTHER), strict=False))
    known = {site: [[address]] for site, address in addresses.items()} | {k: list(v) for k, v in (names or {}).items()}
    with ExitStack() as stack:
        servers = {
            site: stack.enter_context(serve(answer, authority.server(site, "*." + site)))
            for site, answer in sites.items()
        }
        ports = {addresses[site]: int(server.url.rpartition(":")[2]) for site, server in servers.items()}
        resolver, wires = Names(known), Wires(ports)
        door = Door(resolve=resolver, dial=wires, tls=authority.trusted(), **options)
        yield Internet(door, resolver, wires, servers)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[str]:
    """Run a server that says what it likes, once the head of a request is in; gives its URL."""
    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
