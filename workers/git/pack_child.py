"""The other side of `reading`: a process of its own that unpacks what a git server sent and reads its front matter.

Started as `python -I pack_child.py CPU_SECONDS MEMORY_BYTES` with an empty environment. It imports nothing of this
package and opens nothing but the pack. What is too much for it ends it; no blob is written anywhere, and no symlink,
submodule or LFS pointer is followed.

It is asked {"pack", "commit", "directory", "known": {path: hash}, "max_objects"} on standard input, and answers with
messages, each its length in 4 bytes and JSON: first {"paths": [every markdown file], "problems"}, then some of
{"files": [{path, hash, front, body} | {path, hash, problem} | {path, hash, is_none}]}, and at last {"end": true} or
{"error", "message"}. Files whose hash is known are not read; `is_none`: it has no front matter.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import resource
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import Commit, Tree
from dulwich.pack import MemoryPackIndex, Pack, PackData

MAX_FILE_BYTES, MAX_FRONT_BYTES = 262_144, 32_768
MAX_FRONT_NODES = 5_000  # with every alias written out; a text counts once more for each 100 characters
MAX_PATH_CHARS = 20_000_000  # of all markdown files: one small folder may stand in a thousand places
MAX_ENTRIES, MAX_FILES = 500_000, 100_000  # of all folders looked into
MAX_DEPTH, MAX_FRONT_DEPTH = 50, 20
MAX_PROBLEMS, BATCH_FILES, BATCH_BYTES = 1_000, 200, 1_000_000
LFS = b"version https://git-lfs.github.com/spec/"
KIND, DIRECTORY, SYMLINK, SUBMODULE = 0o170000, 0o040000, 0o120000, 0o160000


class Refused(Exception):  # noqa: N818 - it is an answer
    """Something that cannot be read: why, as a code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Objects:
    """The objects of a pack, by their ids."""

    def __init__(self, path: str, max_objects: int) -> None:
        data = PackData(path, object_format=DEFAULT_OBJECT_FORMAT)
        if len(data) > max_objects:
            raise Refused("too_large", f"The branch has {len(data)} objects, and {max_objects} are the most.")
        self._pack = Pack.from_objects(data, MemoryPackIndex.for_pack(data))
        self._trees: dict[bytes, list[tuple[bytes, int, bytes]]] = {}

    def get(self, kind: int, sha: bytes) -> bytes | None:
        """Return an object of this kind (1 commit, 2 tree, 3 blob); None when the server left it out."""
        try:
            found, raw = self._pack.get_raw(sha)  # type: ignore[arg-type] # Its ids are bytes of a type of their own.
        except KeyError:
            return None
        if found != kind:
            raise Refused("unreadable", "An object is not of the kind that its tree says.")
        return raw

    def tree(self, sha: bytes) -> list[tuple[bytes, int, bytes]]:
        """Return the entries of a folder: name, mode, id."""
        if sha in self._trees:
            return self._trees[sha]
        raw = self.get(2, sha)
        if raw is None:
            raise Refused("unreadable", "The server left a folder out.")
        tree = Tree.from_string(raw)
        entries: list[tuple[bytes, int, bytes]] = [(name, mode, entry) for name, mode, entry in tree.items()]
        if len(self._trees) < 1000:
            self._trees[sha] = entries
        return entries


class Walk:
    """Finds the markdown files below a folder, and what is left out there."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._entries = self._chars = 0
        self.files: dict[str, bytes] = {}
        self.problems: list[dict[str, str]] = []

    def run(self, commit: str, directory: str) -> None:
        """Walk through a folder of a commit."""
        raw = self._objects.get(1, commit.encode())
        if raw is None:
            raise Refused("unreadable", "The server did not send the commit.")
        folder = bytes(Commit.from_string(raw).tree)
        parts = [part for part in directory.split("/") if part not in {"", "."}]
        for part in parts:
            entries = {name: (mode, sha) for name, mode, sha in self._objects.tree(folder)}
            mode, sha = entries.get(part.encode(), (0, b""))
            if mode & KIND != DIRECTORY:
                raise Refused("directory_missing", f"The branch has no folder {directory!r}.")
            folder = sha
        waiting = [(folder, "".join(f"{part}/" for part in parts), 0)]
        while waiting:
            sha, prefix, depth = waiting.pop()
            for name, mode, entry in self._objects.tree(sha):
                if self._look_at(name, mode, entry, prefix):
                    if depth >= MAX_DEPTH:
                        raise Refused("too_large", f"Folders are nested more than {MAX_DEPTH} deep.")
                    waiting.append((entry, f"{prefix}{name.decode()}/", depth + 1))

    def _look_at(self, name: bytes, mode: int, sha: bytes, prefix: str) -> bool:
        """Take note of an entry; say whether it is a folder to go into."""
        self._entries += 1
        if self._entries > MAX_ENTRIES or len(self.files) > MAX_FILES or self._chars > MAX_PATH_CHARS:
            raise Refused("too_large", f"There are more than {MAX_FILES} agents or {MAX_ENTRIES} files.")
        kind = mode & KIND
        try:
            path = prefix + name.decode()
            usable = name not in {b"", b".", b".."} and name.lower() != b".git" and not set(name) & {0, 47, 92}
        except UnicodeDecodeError:
            path, usable = prefix + name.decode(errors="replace"), False
        if not usable or len(path) > 1024 or not path.isprintable():
            self._note(path, "path_not_allowed", "Its path is not one that a file may have; it was not looked at.")
        elif kind == SYMLINK:
            self._note(path, "symlink", "It is a symbolic link, and links are not followed.")
        elif kind == SUBMODULE:
            self._note(path, "submodule", "It is a submodule, and submodules are not read.")
        elif kind == DIRECTORY:
            return True
        elif name.lower().endswith(b".md"):
            self.files[path] = sha
            self._chars += len(path)
        return False

    def _note(self, path: str, code: str, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            shown = path.encode(errors="replace").decode()[:1024].replace("\0", "\ufffd")
            self.problems.append({"path": shown, "level": "warning", "code": code, "message": message})


def read_file(raw: bytes | None) -> dict[str, Any]:
    """Return what a file says: `front` and `body`, or that it is no agent's."""
    if raw is None or len(raw) > MAX_FILE_BYTES:
        raise Refused("file_too_large", f"It has more than {MAX_FILE_BYTES} bytes.")
    if raw.startswith(LFS):
        raise Refused("lfs_pointer", "It is a pointer to Git LFS, which is not read: keep the text itself in git.")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Refused("not_text", "It is not UTF-8.") from None
    if not text.startswith("---\n"):
        return {"is_none": True}
    if "\0" in text:
        raise Refused("not_text", "It holds a NUL.")
    front, closed, body = text[3:].partition("\n---\n")
    if not closed:
        if not text[3:].endswith("\n---"):
            raise Refused("front_matter_open", "Its front matter does not end: a line --- is missing.")
        front, body = text[3:-4], ""
    front = read_front(front)
    if not isinstance(front, dict):
        return {"is_none": True}
    return {"front": front, "body": body.strip("\n")}


def read_front(text: str) -> Any:
    """Return YAML as JSON."""
    if len(text.encode()) > MAX_FRONT_BYTES:
        raise Refused("front_matter_too_large", f"Its front matter has more than {MAX_FRONT_BYTES} bytes.")
    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        measure(node, {}, 0)
        return as_json(loader.construct_document(node))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 2})" if mark is not None else ""
        said = str(getattr(error, "problem", None) or type(error).__name__)
        raise Refused("front_matter_invalid", f"Its front matter is not YAML: {said[:200]}{where}.") from None
    except (RecursionError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise Refused("front_matter_invalid", f"Its front matter cannot be read: {type(error).__name__}.") from None
    finally:
        loader.dispose()


def measure(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Return how many values there are with every alias written out; refuse too many, and keys given twice."""
    if depth > MAX_FRONT_DEPTH:
        raise Refused("front_matter_too_large", f"Its front matter is nested more than {MAX_FRONT_DEPTH} deep.")
    if (size := sizes.get(id(node))) is None:
        size = 1 + len(node.value) // 100 if isinstance(node, yaml.ScalarNode) else 1
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key, times in Counter(keys).items() if times > 1]:
                raise Refused("front_matter_invalid", f"Its front matter has {twice[0][:100]!r} twice.")
            inner = [entry for pair in node.value for entry in pair]
        else:
            inner = node.value if isinstance(node, yaml.SequenceNode) else []
        for entry in inner:
            size += measure(entry, sizes, depth + 1)
            if size > MAX_FRONT_NODES:
                break
        sizes[id(node)] = size
    if size > MAX_FRONT_NODES:
        raise Refused("front_matter_too_large", f"Its front matter has more than {MAX_FRONT_NODES} values.")
    return size


def as_json(value: Any) -> Any:
    """Return what YAML gave as plain JSON."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise Refused("front_matter_invalid", "Its front matter has a character that no text may have.")
    elif isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > 1e15:
            raise Refused("front_matter_invalid", "Its front matter has a number beyond 1e15.")
    elif isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    elif isinstance(value, list):
        return [as_json(entry) for entry in value]
    elif isinstance(value, dict):
        return {str(as_json(key)): as_json(entry) for key, entry in value.items()}
    elif value is not None:
        raise Refused("front_matter_invalid", f"Its front matter has a value of the type {type(value).__name__}.")
    return value


def changed_files(objects: Objects, files: Mapping[str, bytes], known: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the files whose content is not known; one that is bad says so, and the next one comes."""
    for path, sha in sorted(files.items()):
        if known.get(path) == sha.decode():
            continue
        about: dict[str, Any] = {"path": path, "hash": sha.decode()}
        try:
            about |= read_file(objects.get(3, sha))
        except Refused as refused:
            about["problem"] = {"code": refused.code, "message": refused.message}
        yield about


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return a message, or a part of one, as JSON."""
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode()


def say(message: Mapping[str, Any] | bytes) -> None:
    """Send a message, encoded or not."""
    body = message if isinstance(message, bytes) else encoded(message)
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()


def answer(job: Mapping[str, Any], memory: int, cpu_seconds: int) -> None:
    """Do the job, confined to the pack."""
    confine(memory, cpu_seconds)
    objects = Objects(job["pack"], job["max_objects"])
    walk = Walk(objects)
    walk.run(job["commit"], job["directory"])
    say({"paths": sorted(walk.files), "problems": walk.problems})
    batch, size = list[bytes](), 0
    for about in changed_files(objects, walk.files, job["known"]):
        batch.append(encoded(about))
        size += len(batch[-1])
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            say(b'{"files":[%s]}' % b",".join(batch))
            batch, size = [], 0
    say(b'{"files":[%s]}' % b",".join(batch))


def confine(memory: int, cpu_seconds: int) -> None:
    """Give up processes, writing, and time and memory beyond what is needed."""
    limits = {"RLIMIT_NPROC": 0, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 8}
    limits |= {"RLIMIT_CPU": cpu_seconds, "RLIMIT_AS": memory}
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def main(cpu_seconds: int, memory: int) -> None:
    """Answer the one question."""
    job = json.load(sys.stdin.buffer)
    try:
        answer(job, memory, cpu_seconds)
    except Refused as refused:
        say({"error": refused.code, "message": refused.message})
    except MemoryError:
        say({"error": "too_much", "message": ""})
    except Exception as error:  # Whatever dulwich raises for what is no pack.
        say({"error": "unreadable", "message": f"{type(error).__name__}: {error}"[:300]})
    else:
        say({"end": True})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
