"""./scripts/stack: what it starts, what it repairs, and that it leaves nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from localstack import instance, ports
from localstack.paths import NODE_MODULES, ROOT
from tests.scripts.scratch import Scratch, environment, every_process_of, write_project
from tests.stack import VARIABLES

SERVICES = ("postgres", "postgrest", "auth", "gateway")


def kill(process: psutil.Process) -> None:
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.03)


def assert_nothing_left(stack: Scratch) -> None:
    until(lambda: not every_process_of(stack.name), 5)
    if found := instance.load(stack.name):
        assert [port for port in found.ports.all() if not ports.is_free(port)] == []


def test_a_second_up_starts_nothing_and_is_quick(scratch: Scratch) -> None:
    before = scratch.pids()
    began = time.monotonic()
    scratch.run("up")
    assert time.monotonic() - began < 2  # half a second on an idle machine
    assert scratch.pids() == before
    assert set(before) == set(SERVICES)


def test_env_of_an_instance_is_what_a_shell_evaluates(scratch: Scratch) -> None:
    script = f'eval "$({ROOT}/scripts/stack env --name {scratch.name})" && printenv -0'
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, env=environment())
    seen = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    assert {name: seen.get(name) for name in VARIABLES.values()} == scratch.env()
    with psycopg.connect(seen["DATABASE_URL"]) as connection:
        assert connection.execute("select current_user::text").fetchone() == ("postgres",)


def test_every_service_listens_on_loopback_only(scratch: Scratch) -> None:
    pids = set(scratch.pids().values())
    connections = [found for found in psutil.net_connections("tcp") if found.pid in pids]
    listening = {tuple(found.laddr) for found in connections if found.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", port) for port in scratch.ports()}


def test_secrets_are_readable_by_their_owner_only(scratch: Scratch) -> None:
    home = instance.home_of(scratch.name)
    assert home.stat().st_mode & 0o077 == 0
    for name in ("instance.json", "auth.json", "gateway.json", "postgrest.conf", "env"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back_and_the_data_with_it(scratch: Scratch, service: str) -> None:
    before = scratch.pids()
    kill(scratch.processes()[service])
    scratch.run("up")
    after = scratch.pids()
    assert after[service] != before[service]
    if service != "postgres":  # the others' connections die with Postgres, so all are started anew
        assert {name for name in SERVICES if after[name] != before[name]} == {service}
    assert scratch.seed_rows() == ["seeded"]


def test_status_fails_until_every_service_is_healthy(scratch: Scratch) -> None:
    assert scratch.run("status").returncode == 0
    kill(scratch.processes()["auth"])
    done = scratch.run("status", check=False)
    assert (done.returncode, done.stdout.count("healthy"), done.stdout.count("down")) == (1, 3, 1)
    scratch.run("up")


def test_a_stale_pid_file_naming_a_living_stranger_is_no_obstacle(scratch: Scratch) -> None:
    scratch.run("down")
    found = instance.require(scratch.name)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (found.cluster / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n{found.cluster}/data\n")
            scratch.run("up")
            scratch.run("down")
            assert stranger.poll() is None
        finally:
            stranger.kill()
    scratch.run("up")


def test_down_leaves_no_process_and_no_port_and_up_brings_the_data_back(scratch: Scratch) -> None:
    before = scratch.env()
    scratch.run("down")
    assert_nothing_left(scratch)
    assert "nothing was running" in scratch.run("down").stdout
    scratch.run("up")
    assert scratch.env() == before
    assert scratch.seed_rows() == ["seeded"]


def test_reset_wipes_rows_and_users_and_seeds_again(scratch: Scratch) -> None:
    with psycopg.connect(scratch.env()["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("insert into auth.users (id, email) values (gen_random_uuid(), 'a@example.com')")
        scratch.run("reset")
        assert connection.execute("select body from notes").fetchall() == [("seeded",)]
        assert connection.execute("select count(*) from auth.users").fetchone() == (0,)


def test_migrate_applies_what_is_pending_once(scratch: Scratch) -> None:
    added = scratch.project / "supabase" / "migrations" / "20250101000002_more.sql"
    added.write_text("create table public.more (id int);")
    try:
        assert "applied now" in scratch.run("migrate").stdout
        assert "applied now" not in scratch.run("migrate").stdout
    finally:
        added.unlink()
        scratch.run("reset")


@pytest.mark.parametrize("service", ["postgres", "gateway"])
def test_up_killed_midway_can_be_repeated_and_leaves_no_orphan(fresh: Scratch, service: str) -> None:
    up = fresh.start("up")
    until(lambda: service in fresh.processes())
    up.kill()
    up.wait()
    fresh.run("up")
    assert set(fresh.pids()) == set(SERVICES)
    fresh.run("down")
    assert_nothing_left(fresh)


@pytest.mark.parametrize("service", ["postgres", "gateway"])
def test_an_interrupted_up_stops_what_it_started(fresh: Scratch, service: str) -> None:
    up = fresh.start("up")
    until(lambda: service in fresh.processes())
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(timeout=30) != 0
    assert_nothing_left(fresh)


def test_an_interrupted_up_spares_what_ran_before(scratch: Scratch) -> None:
    kill(scratch.processes()["gateway"])
    before = scratch.pids()
    up = scratch.start("up", "--reset")
    until(lambda: "gateway" in scratch.processes())
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(timeout=30) != 0
    assert scratch.pids() == before
    scratch.run("up", "--reset")


def test_a_busy_port_is_named_with_the_way_out(fresh: Scratch) -> None:
    wanted = ports.pick()
    for busy in (wanted.api, wanted.database):
        with socket.create_server(("127.0.0.1", busy)):
            done = fresh.run("up", "--port", str(wanted.api), check=False)
        assert done.returncode == 1
        assert f"port {busy}" in done.stderr
        assert f"(pid {os.getpid()})" in done.stderr
        assert "STACK_PORT=" in done.stderr
        assert_nothing_left(fresh)


def test_a_stack_moves_to_other_ports_and_stays_where_it_is_when_they_are_busy(scratch: Scratch) -> None:
    before = scratch.pids()
    wanted = ports.pick()
    with socket.create_server(("127.0.0.1", wanted.auth)):
        assert scratch.run("up", "--port", str(wanted.api), check=False).returncode == 1
    assert scratch.pids() == before
    scratch.run("up", "--port", str(wanted.api))
    assert scratch.env()["SUPABASE_URL"] == f"http://127.0.0.1:{wanted.api}"
    assert scratch.seed_rows() == ["seeded"]


@pytest.mark.parametrize("value", ["http", "-1", "80", "70000"])
def test_an_impossible_port_is_refused(fresh: Scratch, value: str) -> None:
    done = fresh.run("up", f"--port={value}", check=False)
    assert done.returncode == 1
    assert repr(value) in done.stderr


def test_ups_at_once_wait_for_each_other_and_instances_do_not_collide(scratch: Scratch, fresh: Scratch) -> None:
    commands = [fresh.start("up"), fresh.start("up"), scratch.start("up")]
    assert [command.wait(timeout=60) for command in commands] == [0, 0, 0]
    assert set(fresh.pids()) == set(SERVICES)
    assert not set(fresh.pids().values()) & set(scratch.pids().values())
    assert fresh.env()["JWT_SECRET"] != scratch.env()["JWT_SECRET"]
    assert fresh.seed_rows() == ["seeded"]


def test_a_stack_that_was_never_started_is_named_with_the_way_out() -> None:
    done = Scratch("never-started", Path()).run("env", check=False)
    assert done.returncode == 1
    assert "./scripts/stack up --name never-started" in done.stderr


def test_it_works_in_a_checkout_below_a_private_folder_with_a_long_path(tmp_path: Path) -> None:
    # As root, Postgres runs as another user, who may not enter the folder; socket paths have a limit of 107 bytes.
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    checkout = private / ("long" * 25)
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    write_project(checkout)
    (checkout / "node_modules").symlink_to(NODE_MODULES)
    stack = [sys.executable, "-m", "localstack"]
    env = environment() | {"PYTHONPATH": str(checkout / "scripts" / "lib")}
    try:
        subprocess.run([*stack, "up", "--name", "private"], check=True, env=env, timeout=60)
        subprocess.run([*stack, "status", "--name", "private"], check=True, env=env, timeout=60)
        assert (checkout / ".stack" / "private" / "instance.json").exists()
    finally:
        subprocess.run([*stack, "down", "--delete", "--name", "private"], check=True, env=env, timeout=60)
