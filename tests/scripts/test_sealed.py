"""Sealed files of backups: what is written comes back, and nothing else ever does."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup import keys, sealed
from backup.errors import BackupError
from backup.keys import Keyring

NAME = "7/base/a.tar"
CHUNK = 64  # instead of 1 MiB, so that small contents have many chunks
HEAD, TAG = 48, 16


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "CHUNK", CHUNK)


@pytest.fixture
def keyring() -> Keyring:
    return keys.parse(keys.new_key())


@pytest.fixture
def file(tmp_path: Path, keyring: Keyring) -> Path:
    """Random bytes, which do not compress, in more than five chunks."""
    path = tmp_path / "file"
    write(path, keyring, os.urandom(400))
    return path


def write(path: Path, keyring: Keyring, content: bytes, name: str = NAME) -> None:
    with sealed.published(path, keyring, name) as sealer:
        for start in range(0, len(content), 100):
            sealer.write(content[start : start + 100])


def chunks(path: Path) -> list[bytes]:
    data = path.read_bytes()[HEAD:]
    return [data[start : start + CHUNK + TAG] for start in range(0, len(data), CHUNK + TAG)]


def refused(path: Path, keyring: Keyring, name: str = NAME) -> str:
    with pytest.raises(BackupError) as caught:
        sealed.contents(path, keyring, name)
    return f"{caught.value} {caught.value.hint}"


def read_a_little(path: Path, keyring: Keyring) -> bytes:
    with sealed.Reading(sealed.unsealed(path, keyring, NAME)) as reading:
        return reading.read(10)


@settings(max_examples=30)
@given(content=st.binary(max_size=1000))
def test_what_is_sealed_comes_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path, keyring = tmp_path_factory.mktemp("sealed") / "file", keys.parse(keys.new_key())
    write(path, keyring, content)
    assert sealed.contents(path, keyring, NAME) == content


def test_the_content_is_not_in_the_file_and_only_its_owner_reads_it(tmp_path: Path, keyring: Keyring) -> None:
    write(tmp_path / "file", keyring, b"a word that would be seen")
    assert b"word" not in (tmp_path / "file").read_bytes()
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0


def test_the_same_content_is_never_sealed_to_the_same_bytes(tmp_path: Path, keyring: Keyring) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, keyring, b"same")
    assert (tmp_path / "one").read_bytes()[HEAD:] != (tmp_path / "two").read_bytes()[HEAD:]


def test_every_changed_bit_is_noticed(file: Path, keyring: Keyring) -> None:
    data = file.read_bytes()
    for place in range(0, len(data), 2):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refused(file, keyring)
    file.write_bytes(data)
    sealed.contents(file, keyring, NAME)


def test_every_truncation_is_noticed(file: Path, keyring: Keyring) -> None:
    data = file.read_bytes()
    assert len(chunks(file)) > 5
    for length in range(len(data)):  # the borders of chunks among them
        file.write_bytes(data[:length])
        refused(file, keyring)


@pytest.mark.parametrize("change", ["swap", "drop", "repeat", "append"])
def test_chunks_in_another_order_or_number_are_refused(file: Path, keyring: Keyring, change: str) -> None:
    head, parts = file.read_bytes()[:HEAD], chunks(file)
    changed = {
        "swap": [parts[1], parts[0], *parts[2:]],
        "drop": [parts[0], *parts[2:]],
        "repeat": [parts[0], *parts],
        "append": [*parts, parts[-1]],
    }[change]
    file.write_bytes(head + b"".join(changed))
    assert "reordered" in refused(file, keyring)


def test_a_chunk_of_another_file_is_refused(file: Path, keyring: Keyring) -> None:
    write(file.with_name("other"), keyring, os.urandom(400))
    parts, foreign = chunks(file), chunks(file.with_name("other"))
    file.write_bytes(file.read_bytes()[:HEAD] + b"".join([parts[0], foreign[1], *parts[2:]]))
    assert "chunk 2" in refused(file, keyring)


def test_a_file_under_another_name_is_refused(file: Path, keyring: Keyring) -> None:
    assert "another's name" in refused(file, keyring, "7/base/b.tar")


def test_another_key_is_named_as_the_reason(file: Path, keyring: Keyring) -> None:
    said = refused(file, keys.parse(keys.new_key()))
    assert "another key" in said
    assert keys.key_id(keyring.keys[0]).hex() in said


def test_after_a_change_of_keys_the_old_one_still_opens(file: Path, keyring: Keyring) -> None:
    both = keys.parse(f"{keys.new_key()}, {keyring.text}")
    assert len(sealed.contents(file, both, NAME)) == 400
    write(file, both, b"new")
    assert "another key" in refused(file, keyring)


@pytest.mark.parametrize(
    ("text", "reason"), [("", "not set"), ("c2hvcnQ=", "5 bytes"), ("not base64!", "not base64"), (" , ", "not set")]
)
def test_a_key_that_is_none_is_refused_with_the_way_to_make_one(text: str, reason: str) -> None:
    with pytest.raises(BackupError, match=reason) as caught:
        keys.read({"BACKUP_KEY": text})
    assert "--new-key" in caught.value.hint


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(TypeError):
        write(tmp_path / "file", keyring, "text, not bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_reading_gives_the_bytes_and_notices_a_missing_end(file: Path, keyring: Keyring) -> None:
    whole = sealed.contents(file, keyring, NAME)
    with sealed.Reading(sealed.unsealed(file, keyring, NAME)) as reading:
        assert reading.read(7) + reading.read(500) + reading.read(5000) == whole
        assert reading.read(1) == b""
    file.write_bytes(file.read_bytes()[: -(TAG + 1)])
    with pytest.raises(BackupError):
        read_a_little(file, keyring)
