"""What of a backup folder belongs together, what may go, and how a segment gets into it. No server runs here."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup import keys, pruning, timelines, wal
from backup.errors import BackupError
from backup.store import Backup, Store, find

SYSTEM = "7711155656532357751"
SEGMENT = 16 << 20
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, SYSTEM, keys.parse(keys.new_key()))
    made.base.mkdir(parents=True)
    made.wal.mkdir()
    return made


def add_backup(store: Store, ended_at: datetime, segment: int, timeline: int = 1) -> Backup:
    """A backup that starts and ends in the segment with this number."""
    made = Backup(
        name=ended_at.strftime("%Y%m%dT%H%M%SZ"),
        system=SYSTEM,
        server_version=180006,
        started_at=ended_at - timedelta(minutes=1),
        ended_at=ended_at,
        timeline=timeline,
        start_lsn=segment * SEGMENT + 40,
        end_lsn=segment * SEGMENT + 400,
        segment_bytes=SEGMENT,
        superuser="postgres",
        archiving=True,
    )
    store.archive_of(made.name).touch()
    store.save(made)
    return made


def add_wal(store: Store, *numbers: int, timeline: int = 1) -> None:
    for number in numbers:
        (store.wal / f"{timelines.segment_name(timeline, number, SEGMENT)}.sealed").touch()


def add_history(store: Store, timeline: int, text: str) -> None:
    name = f"{timeline:08X}.history"
    source = store.root / name
    source.write_text(text)
    wal.put(store.root, SYSTEM, name, source, store.keyring)


def numbers(store: Store) -> list[int]:
    return [timelines.segment_number(name, SEGMENT) for name in store.segments()]


def prune(store: Store, now: datetime = NOW) -> pruning.Plan:
    planned = pruning.plan(store, now)
    pruning.remove(store, planned)
    return planned


# --- retention ---


def test_a_month_of_daily_backups_keeps_30_days_of_full_ones_and_the_wal_for_any_time_of_7_days(store: Store) -> None:
    for day in range(60):  # each day one backup and ten segments
        add_backup(store, NOW - timedelta(days=59 - day), segment=day * 10)
        add_wal(store, *range(day * 10, day * 10 + 10))
    prune(store)
    kept = store.backups()
    assert kept[0].ended_at == NOW - timedelta(days=30)
    assert len(kept) == 31
    anchor = kept[-8]
    assert anchor.ended_at == NOW - timedelta(days=7)
    assert numbers(store) == list(range(anchor.start_lsn // SEGMENT, 600))
    assert timelines.following(store, anchor).missing is None
    assert {path.name.partition(".")[0] for path in store.base.iterdir()} == {backup.name for backup in kept}


def test_pruning_every_day_never_makes_a_time_of_the_last_week_unreachable(store: Store) -> None:
    for day in range(24):
        now = NOW + timedelta(days=day)
        if day % 3 != 1:  # some days have no backup
            add_backup(store, now, segment=day * 4)
        add_wal(store, *range(day * 4, day * 4 + 4))
        prune(store, now)
        for back in (0, 3, 6, 7):
            wanted = now - timedelta(days=back)
            reaching = [backup for backup in store.backups() if backup.ended_at <= wanted]
            if wanted >= NOW:
                found = timelines.following(store, reaching[-1])
                assert (found.missing, timelines.segment_name(1, day * 4 + 3, SEGMENT)) == (None, found.segments[-1])


def test_when_backups_stopped_the_last_one_stays_with_all_its_wal(store: Store) -> None:
    for age in (90, 80):
        add_backup(store, NOW - timedelta(days=age), segment=100 - age)
    add_wal(store, *range(10, 200))
    planned = prune(store)
    assert planned.backups == [(NOW - timedelta(days=90)).strftime("%Y%m%dT%H%M%SZ")]
    assert numbers(store) == list(range(20, 200))


def test_without_a_backup_no_wal_goes(store: Store) -> None:
    add_wal(store, 1, 2, 3)
    assert prune(store) == pruning.Plan([], [], [])


def test_wal_from_before_goes_on_every_timeline_and_histories_stay(store: Store) -> None:
    add_wal(store, 1, 2)
    add_wal(store, 3, 9, timeline=2)
    add_history(store, 2, "1\t0/2000000\tno recovery target specified\n")
    add_backup(store, NOW - timedelta(days=8), segment=9, timeline=2)
    prune(store)
    assert store.segments() == ["00000002.history", timelines.segment_name(2, 9, SEGMENT)]


def test_remains_of_dead_attempts_go_and_those_of_living_ones_stay(store: Store) -> None:
    add_backup(store, NOW, segment=1)
    for name in (".x.tar.sealed.77.tmp", "20200101T000000Z.tar.sealed"):
        (store.base / name).touch()
    assert prune(store, datetime.now(UTC)).remains == []
    assert len(prune(store, datetime.now(UTC) + timedelta(days=3)).remains) == 2


# --- which WAL continues a backup ---


def test_the_first_missing_segment_is_named_when_later_ones_are_there(store: Store) -> None:
    backup = add_backup(store, NOW, segment=5)
    add_wal(store, 4, 5, 6, 7, 9)
    found = timelines.following(store, backup)
    assert [timelines.segment_number(name, SEGMENT) for name in found.segments] == [6, 7]
    assert found.missing == "000000010000000000000008"


def test_segment_names_carry_over_where_the_log_number_does() -> None:
    assert timelines.segment_name(3, 256, SEGMENT) == "000000030000000100000000"
    assert timelines.segment_number("000000030000000100000001", SEGMENT) == 257
    assert timelines.parse_lsn("1/2000028") == (1 << 32) + 0x2000028


def test_wal_is_followed_through_the_newest_timeline_that_continues_the_backup(store: Store) -> None:
    backup = add_backup(store, NOW, segment=5)
    add_wal(store, 6, 7, 8, 9, 10)
    add_wal(store, 8, 9, timeline=2)
    add_wal(store, 9, timeline=3)
    add_history(store, 2, "1\t0/8000100\tbefore 2026-11-23 12:00:00+00\n")
    add_history(store, 3, "1\t0/8000100\tbefore\n2\t0/9000100\tno recovery target specified\n")
    add_history(store, 4, "1\t0/4000000\tbranched off before the backup\n")
    found = timelines.following(store, backup)
    assert (found.timeline, [name[:8] + name[-2:] for name in found.segments]) == (
        3,
        ["0000000106", "0000000107", "0000000208", "0000000309"],
    )
    assert timelines.following(store, backup, 1).segments[-1].endswith("0A")
    for number in (8, 9):
        (store.wal / f"{timelines.segment_name(2, number, SEGMENT)}.sealed").unlink()
    with pytest.raises(BackupError, match="timeline 2 began in an earlier restore"):
        timelines.following(store, backup)
    for unrelated in (4, 9):
        with pytest.raises(BackupError, match="does not continue"):
            timelines.following(store, backup, unrelated)


def test_several_servers_in_one_folder_are_told_apart(store: Store) -> None:
    assert find(store.root, None, store.keyring) == store
    (store.root / "8").mkdir()
    with pytest.raises(BackupError, match=f"{SYSTEM}, 8"):
        find(store.root, None, store.keyring)
    assert find(store.root, SYSTEM, store.keyring) == store


# --- archive_command and restore_command ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As much of a data directory as the two commands look at."""
    folder = tmp_path / "data"
    (folder / "global").mkdir(parents=True)
    (folder / "global" / "pg_control").write_bytes(int(SYSTEM).to_bytes(8, sys.byteorder) + bytes(100))
    (folder / "segment").write_bytes(os.urandom(3_000_000))
    return folder


def command(data: Path, verb: str, store: Store, name: str, path: str, *, key: str | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "backup.wal", verb, str(store.root), name, path],
        cwd=data,
        env={"BACKUP_KEY": store.keyring.text if key is None else key},
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


NAME = "0000000100000000000000AB"


def test_a_segment_is_archived_once_and_again_without_harm_and_comes_back(data: Path, store: Store) -> None:
    target = wal.location(store.root, SYSTEM, NAME)
    assert command(data, "put", store, NAME, "segment") == (0, "")
    first = target.read_bytes()
    assert command(data, "put", store, NAME, "segment") == (0, "")
    assert target.read_bytes() == first
    assert command(data, "get", store, NAME, "back") == (0, "")
    assert (data / "back").read_bytes() == (data / "segment").read_bytes()
    assert [path.name for path in store.wal.iterdir()] == [f"{NAME}.sealed"]


@pytest.mark.parametrize("other", [b"shorter", bytes(3_000_000), b""])
def test_another_content_under_an_archived_name_is_refused(data: Path, store: Store, other: bytes) -> None:
    command(data, "put", store, NAME, "segment")
    before = wal.location(store.root, SYSTEM, NAME).read_bytes()
    (data / "other").write_bytes(other)
    code, said = command(data, "put", store, NAME, "other")
    assert (code, "not overwritten" in said) == (1, True)
    assert wal.location(store.root, SYSTEM, NAME).read_bytes() == before


def test_restore_command_tells_a_missing_segment_from_one_that_cannot_be_used(data: Path, store: Store) -> None:
    assert command(data, "get", store, NAME, "back")[0] == 1  # recovery ends here, as it should
    command(data, "put", store, NAME, "segment")
    code, said = command(data, "get", store, NAME, "back", key=keys.new_key())
    assert (code > 125, "another key" in said) == (True, True)  # recovery stops with an error
    code, said = command(data, "get", store, NAME, "back", key="")
    assert (code > 125, "not set" in said) == (True, True)
    wal.location(store.root, SYSTEM, NAME).write_bytes(wal.location(store.root, SYSTEM, NAME).read_bytes()[:-1])
    assert command(data, "get", store, NAME, "back")[0] > 125
    assert not (data / "back").exists()


@pytest.mark.parametrize("name", ["../../evil", "0000000100000000000000ab", "", "pg_control"])
def test_names_that_are_no_wal_are_refused(data: Path, store: Store, name: str) -> None:
    code, said = command(data, "put", store, name, "segment")
    assert (code, "is no name of a WAL file" in said) == (1, True)
