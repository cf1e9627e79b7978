"""What a hostile repository can do to a worker that reads it: nothing but be reported, file by file, or be stopped."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dulwich.object_store import MissingObjectFinder
from dulwich.objects import Blob, Commit, ShaFile, Tree
from dulwich.pack import write_pack_objects

from tests.git_server import FILE, FOLDER, SUBMODULE, SYMLINK, Origin, agent
from workers.errors import TaskFailure
from workers.git.reading import ReadingLimits, read_pack

Row = dict[str, Any]
LIMITS = ReadingLimits(cpu_seconds=20, memory_bytes=600 * 2**20)
LAUGHS = "\n".join(
    ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    + [f"{now}: &{now} [{', '.join([f'*{before}'] * 9)}]" for before, now in zip("abcdefgh", "bcdefghi", strict=True)]
)
MERGES = "\n".join(
    ["a: &a {x: 1, y: 2}"]
    + [f"{now}: &{now} {{<<: [{', '.join([f'*{was}'] * 9)}]}}" for was, now in zip("abcdefgh", "bcdefghi", strict=True)]
)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    found = Origin(tmp_path / "agents.git")
    yield found
    found.repo.close()


def packed(origin: Origin, commit: str) -> str:
    """Write what a server would send of a commit; return the file."""
    store = origin.repo.object_store
    wanted = MissingObjectFinder(store, haves=[], wants=[commit.encode()], shallow=set())  # type: ignore[list-item]
    path = origin.path / "sent.pack"
    with path.open("wb") as pack:
        write_pack_objects(pack, [(store[sha], None) for sha, _ in wanted], object_format=store.object_format)
    return str(path)


async def read(
    origin: Origin, commit: str, directory: str = "agents", known: Mapping[str, str] | None = None, pack: str = ""
) -> tuple[Row, dict[str, Row]]:
    """Read a commit; return the first message, and each file by its path."""
    first: Row = {}
    files: dict[str, Row] = {}
    async with read_pack(pack or packed(origin, commit), commit, directory, known or {}, LIMITS) as messages:
        async for message in messages:
            first = first or message
            files |= {about["path"]: about for about in message.get("files", ())}
    return first, files


async def read_all(pack: str, commit: str, limits: ReadingLimits) -> None:
    async with read_pack(pack, commit, "agents", {}, limits) as messages:
        async for _ in messages:
            pass


async def test_agents_are_read_from_the_folder_that_is_meant(origin: Origin) -> None:
    files = {"agents/a.md": agent(), "agents/deep/B.MD": agent("Other"), "agents/c.txt": agent(), "d.md": agent()}
    commit = origin.commit(files)
    assert (await read(origin, commit))[0]["paths"] == ["agents/a.md", "agents/deep/B.MD"]
    assert (await read(origin, commit, "./agents//deep/"))[0]["paths"] == ["agents/deep/B.MD"]
    first, found = await read(origin, commit, "")
    assert first["paths"] == ["agents/a.md", "agents/deep/B.MD", "d.md"]
    assert found["d.md"]["body"] == "You write."


async def test_what_is_known_is_not_read_again(origin: Origin) -> None:
    commit = origin.commit({"agents/a.md": agent(), "agents/b.md": agent("Other")})
    _, files = await read(origin, commit)
    known = {"agents/a.md": files["agents/a.md"]["hash"], "agents/b.md": "another", "agents/gone.md": "x"}
    first, files = await read(origin, commit, known=known)
    assert first["paths"] == ["agents/a.md", "agents/b.md"]
    assert files.keys() == {"agents/b.md"}


async def test_links_submodules_and_odd_paths_are_never_followed_and_reported(origin: Origin) -> None:
    good, link = origin.blob(agent()), origin.blob("/etc/passwd")
    nested = origin.tree([(b"fine.md", FILE, good), (b"up.md", SYMLINK, origin.blob("../../../../etc/passwd"))])
    folder = origin.tree(
        [
            (b"a.md", FILE, good),
            (b"link.md", SYMLINK, link),
            (b"linked-folder", SYMLINK, origin.blob("/")),
            (b"sub", SUBMODULE, b"1" * 40),
            (b"sub.md", SUBMODULE, b"2" * 40),
            (b"..", FOLDER, nested),
            (b".", FOLDER, nested),
            (b".git", FOLDER, nested),
            (b".GIT", FOLDER, nested),
            (b"\xff.md", FILE, good),
            (b"a\\b.md", FILE, good),
            (b"new\nline.md", FILE, good),
            (b"nested", FOLDER, nested),
        ]
    )
    hooks = origin.tree([(b"post-checkout", 0o100755, origin.blob("#!/bin/sh\ntouch /tmp/never"))])
    root = origin.tree([(b"agents", FOLDER, folder), (b"hooks", FOLDER, hooks), (b".gitmodules", FILE, link)])
    first, files = await read(origin, origin.commit(root))
    assert files.keys() == {"agents/a.md", "agents/nested/fine.md"}
    said = sorted((entry["path"], entry["code"]) for entry in first["problems"])
    assert said == sorted(
        [
            ("agents/.", "path_not_allowed"),
            ("agents/..", "path_not_allowed"),
            ("agents/.GIT", "path_not_allowed"),
            ("agents/.git", "path_not_allowed"),
            ("agents/a\\b.md", "path_not_allowed"),
            ("agents/link.md", "symlink"),
            ("agents/linked-folder", "symlink"),
            ("agents/nested/up.md", "symlink"),
            ("agents/new\nline.md", "path_not_allowed"),
            ("agents/sub", "submodule"),
            ("agents/sub.md", "submodule"),
            ("agents/�.md", "path_not_allowed"),
        ]
    )


@pytest.mark.parametrize("kind", [SYMLINK, SUBMODULE, FILE])
async def test_the_folder_itself_is_not_a_link_either(origin: Origin, kind: int) -> None:
    sha = b"1" * 40 if kind == SUBMODULE else origin.blob("elsewhere")
    elsewhere = origin.folder({"a.md": agent()})
    commit = origin.commit(origin.tree([(b"agents", kind, sha), (b"elsewhere", FOLDER, elsewhere)]))
    for directory in ("agents", "agents/deep", "nowhere"):
        with pytest.raises(TaskFailure, match="repository_directory_missing"):
            await read(origin, commit, directory)


BAD: list[tuple[str | bytes, str | None]] = [
    ("# Just a page\n", None),
    ("", None),
    ("---\n- a list\n---\nx", None),
    ("---\n---\nx", None),
    ("---\nname: a\nno end", "front_matter_open"),
    (b"---\nname: \xff\n---\n", "not_text"),
    ("---\nname: a\n---\n\0", "not_text"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "lfs_pointer"),
    (b"---\nname: a\n---\n" + b"x" * 300_000, "file_too_large"),
    ("---\nname: [\n---\nx", "front_matter_invalid"),
    ("---\nname: a\nname: b\n---\nx", "front_matter_invalid"),
    ("---\nname: !!python/object/apply:os.system ['touch /tmp/never']\n---\nx", "front_matter_invalid"),
    ("---\nname: !!binary aGk=\n---\nx", "front_matter_invalid"),
    ("---\nname: .inf\n---\nx", "front_matter_invalid"),
    ('---\nname: "a\\0b"\n---\nx', "front_matter_invalid"),
    ('---\nname: "\\ud800"\n---\nx', "front_matter_invalid"),
    ("---\nname: 1" + "0" * 5000 + "\n---\nx", "front_matter_invalid"),
    ("---\nname: &a [*a]\n---\nx", "front_matter_too_large"),
    ("---\nname: " + "[" * 5000 + "]" * 5000 + "\n---\nx", "front_matter_too_large"),
    ("---\nname: [" + "a," * 6000 + "]\n---\nx", "front_matter_too_large"),
    ("---\nname: " + "a" * 40_000 + "\n---\nx", "front_matter_too_large"),
    (f"---\n{LAUGHS}\n---\nx", "front_matter_too_large"),
    # A text in thousands of places: 30 KB here, 64 MB written out.
    ("---\nname: a\nb: &b " + "b" * 16_000 + "\nc: [" + "*b," * 4000 + "]\n---\nx", "front_matter_too_large"),
    (f"---\n{MERGES}\n---\nx", "front_matter_too_large"),
    ("---\nname: a\n---\nb: &x 1\n---\n*x", None),
]


async def test_one_bad_file_stops_no_other(origin: Origin) -> None:
    contents = {f"agents/{number:02}.md": content for number, (content, _) in enumerate(BAD)}
    _, files = await read(origin, origin.commit({**contents, "agents/zz.md": agent()}))
    assert files["agents/zz.md"]["front"]["name"] == "Writer"
    problems = [files[path].get("problem") for path in contents]
    assert [problem and problem["code"] for problem in problems] == [code for _, code in BAD]
    assert all(problem["message"].startswith("It") and len(problem["message"]) < 400 for problem in problems if problem)


async def test_front_matter_is_read_as_plain_json(origin: Origin) -> None:
    front = "name: a\nwhen: 2026-01-02\nn: 1.5\nb: yes\n1: x\nnone: ~\nlist: &l [a]\nagain: *l"
    commit = origin.commit({"agents/a.md": f"\ufeff---\r\n{front}\r\n---\r\n\r\nBody\r\n---\r\nmore\r\n"})
    _, files = await read(origin, commit)
    found = {
        "name": "a",
        "when": "2026-01-02",
        "n": 1.5,
        "b": True,
        "1": "x",
        "none": None,
        "list": ["a"],
        "again": ["a"],
    }
    assert files["agents/a.md"]["front"] == found
    assert files["agents/a.md"]["body"] == "Body\n---\nmore"


def forged(path: Path, objects: list[tuple[int, bytes]], count: int | None = None) -> str:
    """Write a pack of (kind, content) by hand, with a right checksum."""
    body = bytearray(b"PACK" + struct.pack(">LL", 2, len(objects) if count is None else count))
    for kind, content in objects:
        size = len(content)
        head = (kind << 4) | (size & 15)
        size >>= 4
        while size:
            body += bytes([head | 128])
            head, size = size & 127, size >> 7
        body += bytes([head]) + zlib.compress(content, 1)
    path.write_bytes(body + hashlib.sha1(body, usedforsecurity=False).digest())
    return str(path)


def bomb(path: Path, megabytes: int) -> str:
    """Write a pack whose one blob is that large unpacked, and next to nothing packed."""
    squeeze, piece = zlib.compressobj(1), b"\0" * 2**20
    size = megabytes * 2**20
    head, rest = bytearray([(3 << 4) | (size & 15)]), size >> 4
    while rest:
        head[-1] |= 128
        head.append(rest & 127)
        rest >>= 7
    data = b"".join(squeeze.compress(piece) for _ in range(megabytes)) + squeeze.flush()
    body = b"PACK" + struct.pack(">LL", 2, 1) + bytes(head) + data
    path.write_bytes(body + hashlib.sha1(body, usedforsecurity=False).digest())
    return str(path)


def spoilt(path: Path, what: str) -> str:
    """Make a pack that is none of one that is sound."""
    sound = path.read_bytes()
    noise = hashlib.sha256(b"x").digest() * 1000
    path.write_bytes({"empty": b"", "short": b"PACK", "noise": noise, "cut": sound[:-60]}[what])
    return str(path)


@pytest.mark.parametrize("what", ["empty", "short", "noise", "cut"])
async def test_what_is_no_pack_is_said_so(origin: Origin, what: str) -> None:
    commit = origin.commit({"agents/a.md": agent()})
    with pytest.raises(TaskFailure, match="repository_unreadable"):
        await read(origin, commit, pack=spoilt(Path(packed(origin, commit)), what))


async def test_a_commit_that_is_missing_or_none_is_said_so(origin: Origin, tmp_path: Path) -> None:
    path = forged(tmp_path / "forged.pack", [(3, b"x")])
    for commit in ("0" * 40, hashlib.sha1(b"blob 1\0x", usedforsecurity=False).hexdigest()):
        with pytest.raises(TaskFailure, match="repository_unreadable"):
            await read(origin, commit, pack=path)


async def test_a_pack_bomb_ends_in_its_own_process(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.pack", 300)
    assert tmp_path.joinpath("bomb.pack").stat().st_size < 3_000_000
    with pytest.raises(TaskFailure, match="repository_too_large"):
        await read_all(path, "0" * 40, ReadingLimits(cpu_seconds=20, memory_bytes=200 * 2**20))


async def test_more_objects_than_are_read_are_not_begun_with(origin: Origin, tmp_path: Path) -> None:
    path = forged(tmp_path / "many.pack", [(3, b"x")], count=4_000_000_000)
    with pytest.raises(TaskFailure, match="repository_too_large"):
        await read(origin, "0" * 40, pack=path)


async def test_folders_within_folders_within_folders_come_to_an_end(origin: Origin) -> None:
    inner = origin.folder({"a.md": agent()})
    for _ in range(10):
        inner = origin.tree([(f"d{number}".encode(), FOLDER, inner) for number in range(10)])
    with pytest.raises(TaskFailure, match="repository_too_large"):
        await read(origin, origin.commit(inner), "")
    for _ in range(60):
        inner = origin.tree([(b"d", FOLDER, inner)])
    with pytest.raises(TaskFailure, match="nested more than 50"):
        await read(origin, origin.commit(inner), "")


async def test_a_small_pack_whose_paths_are_long_is_not_written_out(origin: Origin) -> None:
    inner = origin.folder({f"{number}{'n' * 200}.md": agent() for number in range(40)})
    for _ in range(3):
        inner = origin.tree([(f"{number}{'d' * 200}".encode(), FOLDER, inner) for number in range(12)])
    with pytest.raises(TaskFailure, match="repository_too_large"):
        await read(origin, origin.commit(inner), "")


async def test_twenty_thousand_files_are_read_and_not_again(tmp_path: Path) -> None:
    """Made without the loose objects of a repository; 50,000 take the same way, but too long for a test."""
    objects: list[ShaFile] = []
    agents = Tree()
    for folder in range(20):
        inner = Tree()
        for number in range(1000):
            blob = Blob.from_string(agent(f"n{folder}-{number}").encode())
            inner.add(f"{number}.md".encode(), FILE, blob.id)
            objects.append(blob)
        agents.add(str(folder).encode(), FOLDER, inner.id)
        objects.append(inner)
    commit = Commit()
    commit.tree, commit.message, commit.author_time, commit.author_timezone = agents.id, b"many", 0, 0
    commit.author = commit.committer = b"A <a@example.com>"
    commit.commit_time, commit.commit_timezone = 0, 0
    pack = forged(
        tmp_path / "many.pack", [(made.type_num, made.as_raw_string()) for made in (*objects, agents, commit)]
    )
    files: dict[str, str] = {}
    for known in ({}, files):
        async with read_pack(pack, commit.id.decode(), "", dict(known), ReadingLimits()) as messages:
            async for message in messages:
                files |= {about["path"]: about["hash"] for about in message.get("files", ()) if not known}
                assert not (known and message.get("files"))
    assert len(files) == 20_000


async def test_what_takes_too_long_is_ended(origin: Origin) -> None:
    slow = "---\nname: a\nx: [" + "{a: b}, " * 1600 + "]\n---\nx"
    commit = origin.commit({f"agents/{number}.md": slow + str(number) for number in range(150)})
    with pytest.raises(TaskFailure, match="repository_too_large"):
        await read_all(packed(origin, commit), commit, ReadingLimits(cpu_seconds=1))
