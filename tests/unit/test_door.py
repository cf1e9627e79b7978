"""The door against real servers: what it connects to, what it sends along, and what it takes back.

Over 400 lines, because every way around one door is tried in one place.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from tests.unit.door_scene import NO_TLS, OTHER, PUBLIC, Authority, internet, raw_server
from tests.unit.http_server import Reply, Seen, json_reply, serve
from workers.agents.mcp_http import DoorTransport as McpTransport
from workers.door import Door, DoorError, door_failure

OK = json_reply({"content": "done"})
TEXT = {"Content-Type": "text/plain"}
MEGABYTE = 2**20


def ok(_seen: Seen) -> Reply:
    return OK


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def code_of(client: httpx.AsyncClient, url: str, **options: Any) -> str:
    """Return the code of the refusal that a request must end with."""
    with pytest.raises(DoorError) as caught:
        await client.get(url, **options)
    return caught.value.code


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a server's thread sees."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is no event of this loop
            await asyncio.sleep(0.01)


@contextmanager
def flat_memory(limit: int = 8 * MEGABYTE) -> Iterator[None]:
    """Fail when more than so many bytes were in use at once."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak:,} bytes"


# Where it connects to


async def test_a_name_is_resolved_once_and_connected_to_at_its_address_under_its_own_name(authority: Authority) -> None:
    with internet(authority, {"site.example": ok}) as net:
        async with net.door as door, door.client() as first, door.client() as second:
            assert (await first.get("https://site.example:8443/a")).json() == {"content": "done"}
            assert (await second.get("https://site.example:8443/b")).status_code == 200
        assert net.servers["site.example"].seen[0].headers["host"] == "site.example:8443"
    assert (net.names.asked, net.wires.dialled) == (["site.example"], [PUBLIC])  # Clients share the connection.


async def test_dns_that_changes_its_mind_is_refused_the_second_time(authority: Authority) -> None:
    names = {"site.example": [[PUBLIC], ["127.0.0.1"]]}
    with internet(authority, {"site.example": lambda _seen: json_reply({}, Connection="close")}, names) as net:
        async with net.door as door, door.client() as client:
            assert (await client.get("https://site.example/")).status_code == 200
            assert await code_of(client, "https://site.example/") == "address_not_allowed"
    assert (net.names.asked, net.wires.dialled) == (["site.example"] * 2, [PUBLIC])


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["fe80::1%eth0"], ["::1", PUBLIC], ["169.254.169.254"], ["::ffff:127.0.0.1"]],
)
async def test_a_name_is_refused_when_any_of_its_addresses_is_private(
    authority: Authority, addresses: list[str]
) -> None:
    with internet(authority, {"site.example": ok}, {"site.example": [addresses]}) as net:
        async with net.door as door, door.client() as client:
            assert await code_of(client, "https://site.example/") == "address_not_allowed"
    assert net.wires.dialled == []


async def test_the_next_address_is_tried_when_one_does_not_answer(authority: Authority) -> None:
    with internet(authority, {"site.example": ok}, {"site.example": [["2606:4700::1", OTHER, PUBLIC]]}) as net:
        async with net.door as door, door.client() as client:
            assert (await client.get("https://site.example/")).status_code == 200
    assert net.wires.dialled == ["2606:4700::1", OTHER, PUBLIC]


async def test_a_name_that_nobody_knows_cannot_be_connected_to() -> None:
    async with Door(tls=NO_TLS) as door, door.client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("https://does-not-exist.invalid/")


async def test_a_lookup_that_hangs_ends_in_time() -> None:
    async def hang(_host: str) -> list[str]:
        await asyncio.sleep(60)
        return []

    async with Door(resolve=hang, tls=NO_TLS) as door, door.client(timeout=0.2) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("https://site.example/")


async def test_lookups_of_one_name_are_one_and_no_organization_takes_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go, asked = threading.Event(), []

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("slow"):
            let_go.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with (
        Door(tls=NO_TLS) as door,
        door.client(organization="greedy") as greedy,
        door.client(organization="modest") as modest,
    ):
        names = [f"https://slow{number % 40}.example/" for number in range(120)]
        stuck = [asyncio.create_task(greedy.get(name)) for name in names]
        try:
            await until(lambda: len(asked) == 16)  # Half of the threads.
            assert await code_of(modest, "https://quick.example/") == "address_not_allowed"
            assert len(asked) == 17
        finally:
            let_go.set()
        ends = await asyncio.gather(*stuck, return_exceptions=True)
    assert {getattr(end, "code", end) for end in ends} == {"address_not_allowed"}
    assert sorted(set(asked)) == sorted(asked)
    assert len(asked) == 41


@pytest.mark.parametrize("case", ["another name", "expired", "unknown authority", "no TLS"])
async def test_a_certificate_that_is_not_good_ends_the_connection(
    authority: Authority, case: str, tmp_path: Path
) -> None:
    contexts = {
        "another name": authority.server("other.example"),
        "expired": authority.server("site.example", days=-1),
        "unknown authority": Authority(tmp_path).server("site.example"),
        "no TLS": None,
    }
    with internet(authority, {"site.example": ok}) as net, serve(ok, contexts[case]) as server:
        net.wires.rewire(PUBLIC, server)
        async with net.door as door, door.client() as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get("https://site.example/")
    assert server.seen == []
    assert any(isinstance(error, ssl.SSLError) for error in _causes(caught.value))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def test_a_caller_cannot_name_another_host_or_target(authority: Authority) -> None:
    with internet(authority, {"site.example": ok}) as net:
        async with net.door as door, door.client() as client:
            extensions = {"sni_hostname": "other.example", "target": b"https://other.example/secret"}
            await client.get("https://site.example/a", headers={"Host": "other.example"}, extensions=extensions)
        (seen,) = net.servers["site.example"].seen
    assert (seen.path, seen.headers["host"]) == ("/a", "site.example")


# Redirects


def to(url: str, status: int = 302) -> Reply:
    return Reply(status, {"Location": url})


async def test_a_redirect_loop_ends(authority: Authority) -> None:
    with internet(authority, {"site.example": lambda seen: to(seen.path + "x")}) as net:
        async with net.door as door, door.client(max_redirects=3) as client:
            assert await code_of(client, "https://site.example/") == "too_many_redirects"
        assert len(net.servers["site.example"].seen) == 4


async def test_redirects_are_answers_unless_asked_for(authority: Authority) -> None:
    with internet(authority, {"site.example": lambda _seen: to("/next")}) as net:
        async with net.door as door, door.client() as client:
            assert (await client.get("https://site.example/")).status_code == 302
            assert await code_of(client, "https://site.example/", follow_redirects=True) == "too_many_redirects"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("https://127.0.0.1/", "address_not_allowed"),
        ("https://169.254.169.254/latest/", "address_not_allowed"),
        ("https://[::ffff:10.0.0.1]/", "address_not_allowed"),
        ("https://private.example/", "address_not_allowed"),
        ("http://site.example/", "scheme_not_allowed"),
        ("//user:pass@site.example/", "url_invalid"),
        ("https://elsewhere.example/", "host_not_allowed"),
    ],
)
async def test_a_redirect_is_checked_as_the_first_request_was(authority: Authority, target: str, code: str) -> None:
    names = {"private.example": [["192.168.1.1"]]}
    allowed = None if code == "address_not_allowed" else ["site.example"]
    with internet(authority, {"site.example": lambda _seen: to(target, 307)}, names) as net:
        async with net.door as door, door.client(allowed, max_redirects=5) as client:
            assert await code_of(client, "https://site.example/") == code
    assert net.wires.dialled == [PUBLIC]


async def test_credentials_do_not_go_along_to_another_origin(authority: Authority) -> None:
    headers = {
        "Authorization": "Bearer s",
        "X-API-Key": "s",
        "Cookie": "a=s",
        "Accept": "text/x",
        "Content-Type": "a/b",
    }

    def first(seen: Seen) -> Reply:
        return to("/again", 307) if seen.path == "/" else to("https://other.example/in", 307)

    with internet(authority, {"site.example": first, "other.example": ok}) as net:
        async with net.door as door, door.client(max_redirects=5) as client:
            answer = await client.post("https://site.example/", headers=headers, content=b"x")
        here = net.servers["site.example"].seen
        (there,) = net.servers["other.example"].seen
    assert answer.status_code == 200
    assert [seen.headers["x-api-key"] for seen in here] == ["s", "s"]
    assert {"authorization", "x-api-key", "cookie"} & set(there.headers) == set()
    assert (there.headers["accept"], there.headers["content-type"], there.body) == ("text/x", "a/b", b"x")


async def test_cookies_are_not_kept(authority: Authority) -> None:
    with internet(authority, {"site.example": lambda _seen: json_reply({}, Set_Cookie="s=1; Path=/")}) as net:
        async with net.door as door, door.client() as client:
            for _ in range(2):
                await client.get("https://site.example/")
        assert "cookie" not in net.servers["site.example"].seen[1].headers


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login operator password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serve(ok) as proxy, serve(ok) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
            await client.get(server.url)
    assert proxy.seen == []
    assert "authorization" not in server.seen[0].headers


# What it takes back


@functools.cache
def bomb(encoding: str) -> bytes:
    """Return a gigabyte of nothing, compressed once for each layer; a first layer has no end."""
    first, *more = encoding.split(", ")
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = {"gzip": gzip.compress(b"")[:10], "deflate": zlib.compress(b"")[:2]}[first] + block * 1000
    for layer in more:
        packed = gzip.compress(packed) if layer == "gzip" else zlib.compress(packed)
    return packed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "deflate, gzip", "x-gzip"])
async def test_a_decompression_bomb_is_stopped_while_it_is_decoded(encoding: str) -> None:
    packed = bomb(encoding.removeprefix("x-"))
    with serve(lambda _seen: Reply(200, {**TEXT, "Content-Encoding": encoding}, [packed])) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=MEGABYTE) as client:
            with flat_memory():
                assert await code_of(client, server.url) == "response_too_large"


async def test_a_bomb_that_comes_to_nothing_in_the_end_is_stopped_too() -> None:
    # Gigabytes of empty members inside: the content is small, what lies between is not.
    packed = gzip.compress(gzip.compress(b"") * 400_000)
    with serve(lambda _seen: Reply(200, {**TEXT, "Content-Encoding": "gzip, gzip"}, [packed])) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=MEGABYTE) as client:
            with flat_memory():
                assert await code_of(client, server.url) == "response_too_large"


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip, gzip", "gzip," * 3000 + "gzip", "nonsense"]
)
async def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with serve(lambda _seen: Reply(200, {**TEXT, "Content-Encoding": encoding}, [b"x"])) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
            assert await code_of(client, server.url, headers={"Accept-Encoding": "br"}) == (
                "response_encoding_unsupported"
            )
    assert server.seen[0].headers["accept-encoding"] == "gzip, deflate"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


WORDS = b"".join(b"%d words; " % number for number in range(30_000))
ENCODED = {
    "gzip": ("gzip", gzip.compress(WORDS)),
    "members": ("gzip", gzip.compress(WORDS[:5000]) + gzip.compress(b"") + gzip.compress(WORDS[5000:])),
    "deflate": ("deflate", zlib.compress(WORDS)),
    "deflate without its header": ("deflate", raw_deflate(WORDS)),
    "two layers": ("deflate, gzip", gzip.compress(zlib.compress(WORDS))),
    "identity": ("identity", WORDS),
    "none": ("", WORDS),
}


@pytest.mark.parametrize("size", [1, 1000, 10**6])
@pytest.mark.parametrize("case", ENCODED)
async def test_what_is_encoded_arrives_whole_however_it_is_cut(case: str, size: int) -> None:
    encoding, packed = ENCODED[case]
    cut = 3000 if size == 1 else 10**7  # A byte at a time for the beginning is enough.
    chunks = [packed[at : at + size] for at in range(0, min(cut, len(packed)), size)] + [packed[cut:]]
    headers = {**TEXT, "Content-Encoding": encoding} if encoding else TEXT
    with serve(lambda _seen: Reply(200, headers, [chunk for chunk in chunks if chunk])) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=len(WORDS)) as client:
            answer = await client.get(server.url)
    assert answer.content == WORDS


@pytest.mark.parametrize(
    "packed", [gzip.compress(WORDS)[:-9], b"no gzip at all", b"\x1f", gzip.compress(b"x") + b"junk"]
)
async def test_what_is_not_in_its_encoding_or_cut_short_is_an_error(packed: bytes) -> None:
    with serve(lambda _seen: Reply(200, {**TEXT, "Content-Encoding": "gzip"}, [packed])) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
            with pytest.raises(httpx.DecodingError):
                await client.get(server.url)


async def test_a_large_answer_is_refused_at_its_first_word() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n"
    with serve(lambda _seen: Reply(raw=head)) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=MEGABYTE) as client:
            assert await code_of(client, server.url) == "response_too_large"


async def test_200_megabytes_in_chunks_leave_the_memory_flat() -> None:
    chunk = bytes(MEGABYTE)
    with serve(lambda _seen: Reply(200, TEXT, [chunk] * 200)) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=MEGABYTE) as client:
            with flat_memory():
                assert await code_of(client, server.url) == "response_too_large"


async def test_a_large_answer_that_is_allowed_streams_through_flat_memory() -> None:
    chunk = bytes(MEGABYTE)
    with serve(lambda _seen: Reply(200, TEXT, [chunk] * 100)) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client(max_bytes=100 * MEGABYTE) as client:
            with flat_memory():
                async with client.stream("GET", server.url) as answer:
                    assert sum([len(piece) async for piece in answer.aiter_bytes()]) == 100 * MEGABYTE


async def test_too_many_headers_and_too_large_headers_are_refused() -> None:
    many = {f"X-{number}": "1" for number in range(250)}
    async with Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
        with serve(lambda _seen: Reply(200, many)) as server:
            assert await code_of(client, server.url) == "response_too_large"
        with serve(lambda _seen: Reply(200, {"X": "1" * 200_000})) as server, pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say the head of an answer a letter at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def promise(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say for ever that the answer will come."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50)
        await writer.drain()
        await asyncio.sleep(0)


async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send content for ever, a little at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("talk", [drip, promise])
async def test_a_head_that_never_ends_times_out(talk: Any) -> None:
    async with (
        raw_server(talk) as url,
        Door(allow_private=True, tls=NO_TLS) as door,
        door.client(timeout=0.3) as client,
    ):
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url)
    assert time.monotonic() - began < 3


async def test_the_whole_may_have_a_limit_where_each_step_is_quick() -> None:
    async with raw_server(trickle) as url, Door(allow_private=True, tls=NO_TLS) as door:
        began = time.monotonic()
        async with door.client(timeout=5, whole_seconds=0.4) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(url)
    assert 0.3 < time.monotonic() - began < 3


async def test_redirects_share_the_time_of_the_whole() -> None:
    with serve(lambda _seen: Reply(302, {"Location": "/"}, delay=0.1)) as server:
        async with (
            Door(allow_private=True, tls=NO_TLS) as door,
            door.client(max_redirects=99, whole_seconds=0.5) as client,
        ):
            with pytest.raises(httpx.ReadTimeout):
                await client.get(server.url)
    assert 2 <= len(server.seen) <= 6


async def test_what_the_pool_raises_is_what_httpx_raises() -> None:
    async with Door(allow_private=True, tls=NO_TLS) as door, door.client(timeout=0.2) as client:
        cut = Reply(200, TEXT, [b"half"], cut=True)
        with serve(lambda _seen: cut) as server, pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)
        with pytest.raises(httpx.ConnectError):
            await client.get(server.url)
        with serve(lambda _seen: Reply(delay=30)) as server, pytest.raises(httpx.ReadTimeout):
            await client.get(server.url)


async def test_a_large_request_arrives_whole() -> None:
    body = WORDS * 20
    with serve(ok) as server:
        async with Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
            await client.post(server.url, content=body)
    assert server.seen[0].body == body


async def test_an_answer_that_comes_before_the_request_is_whole_is_read() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop")
        await writer.drain()
        await asyncio.sleep(0.5)

    async with raw_server(refuse) as url, Door(allow_private=True, tls=NO_TLS) as door, door.client() as client:
        answer = await client.post(url, content=b"x" * 100_000)
    assert (answer.status_code, answer.text) == (413, "stop")


# For MCP, whose library uses httpx2


async def test_a_client_of_the_other_library_follows_the_same_rules(authority: Authority) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.path == "/bomb":
            return Reply(200, {**TEXT, "Content-Encoding": "gzip"}, [bomb("gzip")])
        if seen.path == "/slow":
            return Reply(delay=30)
        if seen.path == "/away":
            return to("/away")
        return json_reply({"heard": seen.json}, Set_Cookie="s=1; Path=/")

    with internet(authority, {"site.example": answer}) as net:
        async with (
            net.door as door,
            door.client(["site.example"], max_bytes=MEGABYTE, timeout=1) as inner,
            httpx2.AsyncClient(transport=McpTransport(inner), trust_env=False, timeout=1) as client,
        ):
            for _ in range(2):
                found = await client.post("https://site.example/", json={"a": 1})
                assert found.json() == {"heard": {"a": 1}}
            codes = {
                "https://site.example/bomb": "response_too_large",
                "https://10.0.0.1/": "address_not_allowed",
                "https://other.example/": "host_not_allowed",
                "http://site.example/": "scheme_not_allowed",
            }
            for url, code in codes.items():
                with pytest.raises(httpx2.ReadError) as caught:
                    await client.get(url)
                refusal = caught.value.__cause__
                assert isinstance(refusal, DoorError)
                assert refusal.code == code
            with pytest.raises(httpx2.TooManyRedirects):
                await client.get("https://site.example/away", follow_redirects=True)
            with pytest.raises(httpx2.ReadTimeout):
                await client.get("https://site.example/slow")
        seen = net.servers["site.example"].seen
    assert all("cookie" not in one.headers for one in seen)


# Sharing


async def test_hanging_hosts_of_one_organization_leave_connections_for_others() -> None:
    with serve(lambda _seen: Reply(delay=30)) as hanging, serve(ok) as server:
        async with (
            Door(allow_private=True, tls=NO_TLS, connections=8) as door,
            door.client(organization="greedy", timeout=5) as greedy,
            door.client(organization="modest", timeout=5) as modest,
        ):
            stuck = [asyncio.create_task(greedy.get(hanging.url)) for _ in range(50)]
            await until(lambda: len(hanging.seen) == 4)
            for _ in range(3):
                assert (await modest.get(server.url)).status_code == 200
            assert len(hanging.seen) == 4  # Half of all, and no more.
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            assert (await greedy.get(server.url)).status_code == 200


async def test_who_gets_no_connection_in_time_is_told() -> None:
    with serve(lambda _seen: Reply(delay=30)) as hanging:
        async with (
            Door(allow_private=True, tls=NO_TLS, connections=2) as door,
            door.client(organization="a", timeout=5) as client,
        ):
            stuck = asyncio.create_task(client.get(hanging.url))
            await until(lambda: len(hanging.seen) == 1)
            with pytest.raises(httpx.PoolTimeout):
                await client.get(hanging.url, timeout=0.1)
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)


async def test_a_client_that_is_closed_leaves_nothing_behind() -> None:
    with serve(lambda _seen: Reply(200, TEXT, [b"x"] * 100, chunk_delay=0.05)) as server:
        async with Door(allow_private=True, tls=NO_TLS, connections=2) as door:
            for _ in range(4):  # With a connection or a seat left behind, the second would wait for ever.
                async with door.client(organization="a", timeout=2) as client:
                    answer = await client.send(client.build_request("GET", server.url), stream=True)
                    assert answer.status_code == 200


# What it means for an attempt


@pytest.mark.parametrize("wrapped", ["plain", "cause", "context", "group"])
def test_a_refusal_is_found_wherever_a_library_has_put_it(wrapped: str) -> None:
    refusal = DoorError("host_not_allowed", "The host is not in the list.")
    error: BaseException = refusal
    if wrapped == "cause":
        error = ValueError("x")
        error.__cause__ = refusal
    elif wrapped == "context":
        error = RuntimeError("y")
        error.__context__ = refusal
    elif wrapped == "group":
        error = BaseExceptionGroup("z", [ValueError("other"), BaseExceptionGroup("inner", [refusal])])
    failure = door_failure(error)
    assert failure is not None
    assert (failure.code, failure.message, failure.retryable) == (refusal.code, refusal.message, False)


def test_what_is_not_the_doors_is_left_alone() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert door_failure(first) is None
