"""scripts/backup and scripts/restore on a stack of their own, whose database is destroyed. One story, told in order.

A row is written, a second is noted, another row is written, and the server and its data are gone. Under root Postgres
runs as another user, so all of it lies in a folder that everybody may enter.
"""

import io
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from backup import keys
from backup.__main__ import main as backup
from backup.errors import BackupError
from backup.restoring import main as restore
from localstack import archiving, instance, postgres, processes
from localstack.paths import ROOT
from tests.scripts.scratch import Scratch, write_project

KEY = keys.new_key()
STARTED: list[subprocess.Popen[bytes]] = []  # servers that this process has started


@dataclass(frozen=True)
class Story:
    """The stack, its backup folder, what was in the tables and when. `place` is for whatever a test makes."""

    stack: Scratch
    place: Path
    rows_at_backup: int
    noted: str
    segments: list[str]

    @property
    def folder(self) -> Path:
        return self.place / "backups"

    def copy(self, name: str) -> Path:
        """The backup folder, to do damage in."""
        target = self.place / name
        subprocess.run(["cp", "-a", self.folder, target], check=True)
        return target


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


def run(command: Callable[[list[str]], int], *arguments: str | Path, key: str = KEY) -> Told:
    """Runs a command in this process: most of its time would otherwise be spent on starting."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as environment, redirect_stdout(out), redirect_stderr(err):
        for name in ("BACKUP_DIR", "BACKUP_DATABASE_URL", "BACKUP_KEY_FILE", "BACKUP_PG_BIN"):
            environment.delenv(name, raising=False)
        environment.setenv("BACKUP_KEY", key)
        environment.setenv("STACK_FSYNC", "off")
        try:
            code = command([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
    return Told(code, out.getvalue(), err.getvalue())


def done(command: Callable[[list[str]], int], *arguments: str | Path) -> str:
    told = run(command, *arguments)
    assert told.code == 0, told
    return told.out


def refused(command: Callable[[list[str]], int], *arguments: str | Path, key: str = KEY) -> str:
    told = run(command, *arguments, key=key)
    assert told.code == 1, told
    return told.err


def connect(stack: Scratch) -> psycopg.Connection:
    return psycopg.connect(stack.env()["DATABASE_URL"], autocommit=True)


def note(connection: psycopg.Connection, body: str) -> str:
    """Writes a row and returns the server's time after it."""
    connection.execute("insert into notes (body) values (%s)", [body])
    row = connection.execute("select clock_timestamp()::text").fetchone()
    assert row
    return str(row[0])


def notes(stack: Scratch) -> list[str]:
    with connect(stack) as connection:
        return [body for (body,) in connection.execute("select body from notes where user_id is null order by body")]


def sealed_files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(f"*/{pattern}.sealed"))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = Path(tempfile.mkdtemp(prefix="backup-test-"))
    place.chmod(0o755)
    stack = Scratch(f"backup-{os.getpid()}", write_project(tmp_path_factory.mktemp("project")))
    try:
        yield tell(stack, place)
    finally:
        stack.run("down", "--delete")
        reap()
        shutil.rmtree(place)


def tell(stack: Scratch, place: Path) -> Story:
    folder = place / "backups"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BACKUP_KEY", KEY)
        stack.run("up", "--backups", str(folder))
    with connect(stack) as connection:
        note(connection, "0 before the backup")
        made = done(backup, "--name", stack.name)
        assert "restored and checked" in made
        note(connection, "A")
        segments = [done(backup, "--name", stack.name, "--incremental").split()[6].rstrip(",")]
        noted = note(connection, "A too")
        note(connection, "B")
        segments += [done(backup, "--name", stack.name, "--incremental").split()[6].rstrip(",")]
    destroy(stack)
    return Story(stack, place, 2, noted, segments)


def destroy(stack: Scratch) -> None:
    """The server dies at once, and its data with it."""
    server = stack.processes()["postgres"]
    everything = [server, *server.children(recursive=True)]
    server.kill()
    psutil.wait_procs(everything, timeout=30)
    reap()
    shutil.rmtree(data_of(stack))


def reap() -> None:
    while STARTED:
        STARTED.pop().wait(timeout=30)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.03)


def data_of(stack: Scratch) -> Path:
    return instance.require(stack.name).cluster / "data"


def test_nothing_of_the_rows_can_be_read_in_the_folder(story: Story) -> None:
    files = [path for path in story.folder.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert all(path.suffix == ".sealed" and b"before the backup" not in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_the_list_says_how_far_restores_reach(story: Story) -> None:
    said = done(backup, "--list", "--to", story.folder)
    assert "checked 20" in said
    reach = said.partition("restores reach to ")[2].partition(",")[0]
    assert reach > story.noted[:26]


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("2020-01-01 00:00:00+00", "before the end of the oldest backup"),
        ("2999-01-01T00:00Z", "after the last archived"),
    ],
)
def test_times_out_of_reach_are_refused_before_anything_is_written(story: Story, when: str, reason: str) -> None:
    into = story.place / "unreached"
    assert reason in refused(restore, "--from", story.folder, "--to-time", when, "--into", into)
    assert not into.exists()


def test_a_time_without_a_zone_is_asked_for_it(story: Story) -> None:
    result = run(restore, "--from", story.folder, "--to-time", "2026-11-23 12:00:00", "--into", story.place / "x")
    assert (result.code, "does not say its zone" in result.err) == (2, True)


def test_a_folder_with_something_in_it_is_never_written_to(story: Story) -> None:
    into = story.place / "taken"
    into.mkdir()
    (into / "mine").write_text("mine")
    assert "is not empty" in refused(restore, "--from", story.folder, "--into", into)
    assert [path.read_text() for path in into.iterdir()] == ["mine"]


def test_another_key_is_the_reason_given(story: Story) -> None:
    said = refused(restore, "--from", story.folder, "--into", story.place / "x", key=keys.new_key())
    assert "another key" in said
    assert not (story.place / "x").exists()


def test_a_changed_chunk_of_the_backup_is_refused_and_leaves_nothing(story: Story) -> None:
    folder = story.copy("changed-base")
    damage(sealed_files(folder, "base/*.tar")[0])
    (story.place / "into").mkdir()
    assert "is not what was written" in refused(restore, "--from", folder, "--into", story.place / "into")
    assert list((story.place / "into").iterdir()) == []


def test_a_changed_segment_stops_recovery_instead_of_ending_it_early(story: Story) -> None:
    folder = story.copy("changed-wal")
    damage(sealed_files(folder, f"wal/{story.segments[0]}")[0])
    said = refused(restore, "--from", folder, "--into", story.place / "x")
    assert "recovery stopped" in said
    assert f"{story.segments[0]}.sealed: chunk 1 is not what was written" in said
    assert not (story.place / "x").exists()


def test_a_missing_segment_is_named(story: Story) -> None:
    folder = story.copy("missing-wal")
    sealed_files(folder, f"wal/{story.segments[0]}")[0].unlink()
    for arguments in ([], ["--to-time", story.noted]):
        said = refused(restore, "--from", folder, *arguments, "--into", story.place / "x")
        assert f"the WAL segment {story.segments[0]} is missing" in said
    assert f"{story.segments[0]} is missing" in refused(backup, "--verify", "--to", folder)


def start(stack: Scratch) -> None:
    """Postgres alone, as `stack up` starts it."""
    here = instance.require(stack.name)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STACK_FSYNC", "off")
        postgres.prepare(here)
        service = postgres.service(here)
    STARTED.append(processes.start(service))
    processes.wait_until_healthy(service, STARTED[-1])


def test_the_chosen_second_has_the_row_before_it_and_not_the_one_after(story: Story) -> None:
    said = done(restore, "--from", story.folder, "--to-time", story.noted, "--stack", story.stack.name)
    assert "along timeline 1" in said
    start(story.stack)
    assert notes(story.stack) == ["0 before the backup", "A", "A too", "seeded"]
    assert "is up" in refused(restore, "--from", story.folder, "--stack", story.stack.name)


def test_the_end_has_both(story: Story) -> None:
    # As somebody does who went back too far. The archive knows of timeline 2 by now, so we say which we mean.
    destroy(story.stack)
    into = data_of(story.stack)
    until(lambda: bool(sealed_files(story.folder, "wal/00000002.history")))
    assert "--timeline 1" in refused(restore, "--from", story.folder, "--into", into)
    done(restore, "--from", story.folder, "--timeline", "1", "--into", into)
    start(story.stack)
    assert notes(story.stack) == ["0 before the backup", "A", "A too", "B", "seeded"]


def test_a_restored_server_goes_on_archiving_and_can_be_lost_again(story: Story) -> None:
    with connect(story.stack) as connection:
        note(connection, "C")
        done(backup, "--name", story.stack.name, "--incremental")
    destroy(story.stack)
    assert "along timeline 3" in done(restore, "--from", story.folder, "--into", data_of(story.stack))
    start(story.stack)
    assert notes(story.stack) == ["0 before the backup", "A", "A too", "B", "C", "seeded"]


def test_the_check_of_a_backup_counts_what_the_tables_held(story: Story) -> None:
    said = done(backup, "--verify", "--to", story.folder)
    assert "restores: " in said
    assert said.count("tables with") == 1


def test_archiving_begins_anew_for_another_key_and_can_be_turned_off(story: Story) -> None:
    here = instance.require(story.stack.name)
    assert any("archive_command" in part for part in postgres.service(here).argv)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BACKUP_KEY", KEY)
        assert not archiving.switch(here, str(story.folder))
        environment.setenv("BACKUP_KEY", keys.new_key())
        assert archiving.switch(here, str(story.folder))
        environment.setenv("BACKUP_KEY", "short")
        with pytest.raises(BackupError, match="BACKUP_KEY"):
            archiving.switch(here, str(story.place / "elsewhere"))
    assert archiving.switch(here, "none")
    assert not any("archive" in part for part in postgres.service(here).argv)


def test_the_commands_explain_themselves() -> None:
    for name in ("backup", "restore"):
        shown = subprocess.run([ROOT / "scripts" / name, "--help"], check=True, capture_output=True, text=True).stdout
        assert "BACKUP_KEY" in shown
