"""Reading a branch by the door: real git servers over http and https, and hosts that are none or behave badly."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dulwich.protocol import pkt_line

from tests.git_server import GitServer, agent, serve_git
from tests.unit.door_scene import NO_TLS, OTHER, PUBLIC, Authority, Names, Wires
from tests.unit.http_server import Reply, Seen, Server, serve
from workers.door import Door
from workers.errors import TaskFailure
from workers.git.place import Place
from workers.git.remote import MAX_REFS_BYTES, Remote

HEAD = "1" * 40
REFS = "application/x-git-upload-pack-advertisement"
RESULT = "application/x-git-upload-pack-result"


@asynccontextmanager
async def remote(place: Place, *, door: Door | None = None, **limits: Any) -> AsyncIterator[Remote]:
    most = limits.get("max_pack_bytes", 1_000_000)
    async with (
        door or Door(allow_private=True, tls=NO_TLS) as opened,
        opened.client(timeout=2, max_bytes=limits.get("max_bytes", 20_000_000), max_redirects=3) as http,
        Remote(place, http, max_pack_bytes=most) as found,
    ):
        yield found


async def fetch(place: Place, known: str | None = None, **more: Any) -> tuple[str, bytes]:
    pack = io.BytesIO()
    async with remote(place, **more) as found:
        return await found.fetch(known, pack), pack.getvalue()


async def failure(place: Place, **more: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await fetch(place, **more)
    return caught.value


def refs(*lines: str, capabilities: str = "shallow side-band-64k thin-pack ofs-delta") -> Reply:
    """Advertise refs as version 0 of the protocol does."""
    first, *rest = lines
    packets = [pkt_line(b"# service=git-upload-pack\n"), b"0000", pkt_line(f"{first}\0{capabilities}\n".encode())]
    packets += [pkt_line(f"{line}\n".encode()) for line in rest]
    return Reply(headers={"Content-Type": REFS}, chunks=[b"".join([*packets, b"0000"])])


def sent(*packets: bytes, **changes: Any) -> Reply:
    return Reply(headers={"Content-Type": RESULT}, chunks=list(packets), **changes)


def pack_of(data: bytes) -> list[bytes]:
    shallow = pkt_line(f"shallow {HEAD}".encode()) + b"0000" + pkt_line(b"NAK\n")
    pieces = [pkt_line(b"\x01" + data[start : start + 60_000]) for start in range(0, len(data), 60_000)]
    return [shallow, *pieces, b"0000"]


MAIN = f"{HEAD} refs/heads/main"


@contextmanager
def host(*answers: Reply) -> Iterator[tuple[Server, Place]]:
    """Run a host that answers as it is told, the last answer for ever."""
    left = list(answers)

    def answer(_seen: Seen) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    with serve(answer) as server:
        yield server, Place(f"{server.url}/agents.git", "main")


async def test_a_repository_is_read_over_tls_with_its_token_and_only_there(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("git.example.com")
    with serve_git(tmp_path / "git", tls=tls, token="t0ken") as server:
        commit = server.add().commit({"agents/a.md": agent()})
        port = int(server.url.rpartition(":")[2])

        def door() -> Door:
            return Door(
                resolve=Names({"git.example.com": [[PUBLIC]]}), dial=Wires({PUBLIC: port}), tls=authority.trusted()
            )

        place = Place("https://git.example.com/agents.git", "main", "bot", "t0ken")
        head, pack = await fetch(place, door=door())
        assert (head, pack[:4]) == (commit, b"PACK")
        assert set(server.sent) == {"bot:t0ken"}
        assert (await failure(Place(place.url, "main", "bot", "wrong"), door=door())).code == "repository_auth_failed"
        unknown = await failure(Place(place.url.replace("agents", "none"), "main", "bot", "t0ken"), door=door())
        assert (unknown.code, unknown.retryable) == ("repository_not_found", False)
        stranger = Door(resolve=Names({"git.example.com": [[PUBLIC]]}), dial=Wires({PUBLIC: port}))
        refused = await failure(place, door=stranger)
        assert (refused.code, refused.retryable) == ("repository_unreachable", True)


async def test_a_redirect_is_followed_without_the_credential(tmp_path: Path) -> None:
    with serve_git(tmp_path / "git") as server:
        commit = server.add().commit({"agents/a.md": agent()})

        def moved(seen: Seen) -> Reply:
            return Reply(301, {"Location": f"{server.url}/agents.git/{seen.path.partition('/old.git/')[2]}"})

        with serve(moved) as old:
            head, pack = await fetch(Place(f"{old.url}/old.git", "main", "bot", "t0ken"))
            assert "authorization" in old.seen[0].headers
    assert (head, pack[:4]) == (commit, b"PACK")
    assert server.sent == [None, None]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://git.example.com/a.git", "scheme_not_allowed"),
        ("https://127.0.0.1/a.git", "address_not_allowed"),
        ("https://inside.example.com/a.git", "address_not_allowed"),
        ("https://169.254.169.254/a.git", "address_not_allowed"),
        ("https://elsewhere.example.com/a.git", "host_not_allowed"),
    ],
)
async def test_the_door_guards_git_too(url: str, code: str) -> None:
    names = Names(
        {"git.example.com": [[PUBLIC]], "inside.example.com": [["10.0.0.1"]], "elsewhere.example.com": [[OTHER]]}
    )
    allowed = None if code != "host_not_allowed" else ["git.example.com"]
    async with Door(resolve=names, dial=Wires({}), tls=NO_TLS) as door, door.client(allowed) as http:
        with pytest.raises(TaskFailure) as caught:
            await Remote(Place(url, "main"), http).fetch(None, io.BytesIO())
    assert (caught.value.code, caught.value.retryable) == (code, False)


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (Reply(401), "repository_auth_failed", False),
        (Reply(403), "repository_auth_failed", False),
        (Reply(404), "repository_not_found", False),
        (Reply(410), "repository_not_found", False),
        (Reply(418), "repository_unreadable", False),
        (Reply(429, {"Retry-After": "7"}), "repository_unreachable", True),
        (Reply(500), "repository_unreachable", True),
        (Reply(503), "repository_unreachable", True),
        (Reply(200, {"Content-Type": "text/html"}, [b"<html>"]), "repository_unreadable", False),
        (Reply(200, {"Content-Type": "text/plain"}, [MAIN.encode()]), "repository_unreadable", False),
        (Reply(200, {"Content-Type": REFS}, [b"nonsense"]), "repository_unreadable", True),
        (Reply(200, {"Content-Type": REFS}, [b"ffff"]), "repository_unreadable", True),
        (Reply(200, {"Content-Type": REFS}, [b""]), "repository_unreachable", True),
        (Reply(200, {"Content-Type": REFS}, [b"0010abc"], cut=True), "repository_unreachable", True),
        (Reply(raw=b"SSH-2.0-OpenSSH\r\n"), "repository_unreachable", True),
        (Reply(delay=4), "repository_unreachable", True),
        (Reply(301, {"Location": "/agents.git/info/refs"}), "too_many_redirects", False),
        (refs(f"{HEAD} refs/heads/other", f"{HEAD} refs/heads/more"), "repository_branch_missing", False),
        (refs(f"{'0' * 40} capabilities^{{}}"), "repository_empty", False),
        (refs(MAIN, capabilities="object-format=sha256 shallow"), "repository_unreadable", True),
    ],
    ids=range(20),
)
async def test_a_host_that_does_not_help_is_told_apart(answer: Reply, code: str, retryable: bool) -> None:
    with host(answer) as (_, place):
        found = await failure(place)
    assert (found.code, found.retryable) == (code, retryable), found.message
    assert found.retry_after == (7 if answer.status == 429 else None)
    assert len(found.message) < 400


@pytest.mark.parametrize(
    ("packets", "code"),
    [
        ([b"nonsense"], "repository_unreadable"),
        ([b""], "repository_unreachable"),
        ([pkt_line(b"NAK\n"), pkt_line(b"\x03no such object\n"), b"0000"], "repository_unreadable"),
        ([pkt_line(b"NAK\n"), pkt_line(b"\x01PACK")], "repository_unreachable"),
        ([pkt_line(b"ERR access denied or repository not exported")], "repository_unreadable"),
    ],
    ids=range(5),
)
async def test_an_answer_without_a_pack_is_none(packets: Sequence[bytes], code: str) -> None:
    with host(refs(MAIN), sent(*packets, cut=code == "repository_unreachable")) as (_, place):
        found = await failure(place)
    assert (found.code, found.retryable) == (code, True), found.message


async def test_no_more_is_taken_than_may_be() -> None:
    with host(refs(MAIN), sent(*pack_of(b"PACK" + b"x" * 3_000_000))) as (_, place):
        assert len((await fetch(place, max_pack_bytes=4_000_000))[1]) == 3_000_004
    for limits in ({"max_pack_bytes": 1_000_000}, {"max_pack_bytes": 10_000_000, "max_bytes": 1_000_000}):
        with host(refs(MAIN), sent(*pack_of(b"PACK" + b"x" * 3_000_000))) as (_, place):
            found = await failure(place, **limits)
        assert (found.code, found.retryable) == ("repository_too_large", False)
        assert "agents stay as they were" in found.message


async def test_refs_without_end_are_not_read_to_it() -> None:
    line = pkt_line(f"{HEAD} refs/heads/{'x' * 200}\n".encode())
    chunk = line * 4000
    endless = [pkt_line(b"# service=git-upload-pack\n") + b"0000", *[chunk] * (2 * MAX_REFS_BYTES // len(chunk))]
    with host(Reply(headers={"Content-Type": REFS}, chunks=endless)) as (_, place):
        found = await failure(place, max_bytes=100_000_000)
    assert found.code == "repository_too_large"


async def test_a_pack_from_elsewhere_is_not_fetched_with_the_credential() -> None:
    """A host may name other addresses for its packs; they are strangers to the door and to the credential."""
    with serve(lambda _: Reply(200, {"Content-Type": "text/plain"}, [b"PACK"])) as stranger:
        two = b"".join(pkt_line(line) for line in (b"version 2\n", b"ls-refs\n", b"fetch=shallow\n")) + b"0000"
        listed = pkt_line(f"{HEAD} refs/heads/main\n".encode()) + b"0000"
        uri = pkt_line(f"{stranger.url}/pack sha1 {HEAD}\n".encode())
        pack = pkt_line(b"packfile-uris\n") + uri + pkt_line(b"packfile\n") + pkt_line(b"\x01PACK") + b"0000"
        advertised = Reply(headers={"Content-Type": REFS}, chunks=[two])
        with host(advertised, sent(listed), sent(pack)) as (server, plain):
            found = await failure(Place(plain.url, "main", "bot", "t0ken"))
    assert found.code == "repository_unreadable"
    assert all("authorization" not in seen.headers for seen in stranger.seen)
    assert all("authorization" in seen.headers for seen in server.seen)


async def test_an_attempt_that_is_stopped_ends_at_once() -> None:
    slow = Reply(headers={"Content-Type": REFS}, chunks=[b"0"] * 100, chunk_delay=0.3)
    with host(slow) as (_, place):
        fetching = asyncio.create_task(fetch(place))
        await asyncio.sleep(0.5)
        fetching.cancel()
        stopped = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert time.monotonic() - stopped < 1.5


@pytest.mark.parametrize("what", [lambda server: server, lambda server: server.add()], ids=["none", "empty"])
async def test_an_empty_repository_and_none_are_told_apart(tmp_path: Path, what: Callable[[GitServer], Any]) -> None:
    with serve_git(tmp_path / "git") as server:
        (tmp_path / "git").mkdir(exist_ok=True)
        made = what(server)
        found = await failure(Place(server.address(), "main"))
    assert found.code == ("repository_not_found" if made is server else "repository_empty")
