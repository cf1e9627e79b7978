"""./scripts/drop-table: lists, drops on the local stack only, all or nothing; scripts/reset brings the tables back."""

import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from localstack.paths import ROOT
from tests.scripts.scratch import Scratch, environment


def drop_table(stack: Scratch, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "drop-table", "--name", stack.name, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | variables,
        timeout=60,
    )


def tables(stack: Scratch) -> list[str]:
    return drop_table(stack, "--list").stdout.split()


@pytest.fixture
def filled(scratch: Scratch) -> Iterator[Scratch]:
    """Give the scratch stack with a second table, and take it away again."""
    with psycopg.connect(scratch.env()["DATABASE_URL"]) as connection:
        connection.execute("create table public.labels (note_id uuid references public.notes)")
    yield scratch
    with psycopg.connect(scratch.env()["DATABASE_URL"]) as connection:
        connection.execute("drop table if exists public.labels")


def test_it_lists_the_tables_of_public(filled: Scratch) -> None:
    done = drop_table(filled, "--list")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["labels", "notes"], "")


def test_without_a_table_it_says_how_it_is_used(scratch: Scratch) -> None:
    done = drop_table(scratch)
    assert done.returncode == 2
    assert "--list" in done.stderr


def test_an_unknown_table_drops_none(filled: Scratch) -> None:
    done = drop_table(filled, "--table", "labels", "--table", "nothing", "--table", "notes; drop table labels")
    assert done.returncode == 1
    assert "there is no table" in done.stderr
    assert "nothing" in done.stderr
    assert tables(filled) == ["labels", "notes"]


@pytest.mark.parametrize("elsewhere", ["postgresql://postgres:secret@db.example.com:5432/postgres", "same host"])
def test_with_another_database_in_mind_it_refuses(filled: Scratch, elsewhere: str) -> None:
    own = filled.env()["DATABASE_URL"]
    named = own.rpartition("/")[0] + "/other" if elsewhere == "same host" else elsewhere
    done = drop_table(filled, "--table", "notes", DATABASE_URL=named)
    assert done.returncode == 1
    assert "nothing was dropped" in done.stderr
    assert "secret" not in done.stderr
    assert tables(filled) == ["labels", "notes"]
    assert drop_table(filled, "--list", DATABASE_URL=own).returncode == 0


def test_a_stack_that_is_not_there_is_said_so(scratch: Scratch) -> None:
    missing = Scratch(f"{scratch.name}-not", scratch.project)
    done = drop_table(missing, "--list")
    assert done.returncode == 1
    assert missing.name in done.stderr
    assert "Traceback" not in done.stderr


def test_it_drops_a_table_with_what_refers_to_it_and_reset_brings_it_back(filled: Scratch) -> None:
    done = drop_table(filled, "--table", "notes")
    assert (done.returncode, "dropped notes (" in done.stdout) == (0, True)
    assert tables(filled) == ["labels"]
    filled.run("reset")
    assert tables(filled) == ["notes"]
    assert filled.seed_rows() == ["seeded"]
