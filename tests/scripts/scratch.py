"""A stack of a test's own, driven by the real ./scripts/stack."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from localstack import instance, processes, services
from localstack.paths import ROOT

MIGRATION = """
create extension if not exists vector with schema extensions;
create schema private;
create table public.notes (
  id uuid primary key default gen_random_uuid(),
  user_id uuid default auth.uid() references auth.users on delete cascade,
  body text
);
alter table public.notes enable row level security;
grant select, insert on public.notes to authenticated, service_role;
create policy "people have their own notes" on public.notes for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

create function private.greet() returns trigger language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.notes (user_id, body) values (new.id, new.raw_user_meta_data ->> 'name');
  return new;
end;
$$;
create trigger greet after insert on auth.users for each row execute function private.greet();
"""


def write_project(folder: Path) -> Path:
    """A folder with a small supabase/ folder: one migration, one seed row."""
    (folder / "supabase" / "migrations").mkdir(parents=True)
    (folder / "supabase" / "seeds").mkdir()
    (folder / "supabase" / "config.toml").write_text((ROOT / "supabase" / "config.toml").read_text())
    (folder / "supabase" / "migrations" / "20250101000001_notes.sql").write_text(MIGRATION)
    (folder / "supabase" / "seeds" / "seed.sql").write_text("insert into public.notes (body) values ('seeded');")
    return folder


@dataclass(frozen=True)
class Scratch:
    """One instance by name; `project` is the folder whose migrations it applies."""

    name: str
    project: Path

    def command(self, *arguments: str) -> list[str]:
        takes_folder = arguments[0] in {"up", "reset", "migrate"}
        folder = ["--workdir", str(self.project)] if takes_folder else []
        return [str(ROOT / "scripts" / "stack"), *arguments, "--name", self.name, *folder]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), check=False, capture_output=True, text=True, env=environment(), timeout=120
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command without waiting for it, as a terminal would: in a process group of its own, and with Ctrl-C.

        What a shell runs in the background without job control ignores SIGINT, and so would everything below it.
        """
        return subprocess.Popen(
            self.command(*arguments),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def env(self) -> dict[str, str]:
        return instance.require(self.name).environment()

    def seed_rows(self) -> list[str]:
        with psycopg.connect(self.env()["DATABASE_URL"]) as connection:
            return [body for (body,) in connection.execute("select body from notes where user_id is null")]

    def processes(self) -> dict[str, psutil.Process]:
        """The services that run, by name."""
        found = instance.load(self.name)
        return processes.running(services.all_services(found)) if found else {}

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes().items()}

    def ports(self) -> tuple[int, ...]:
        return instance.require(self.name).ports.all()


def environment() -> dict[str, str]:
    """Ours without the variables of the stack that the tests run on, and without durability."""
    foreign = ("SUPABASE_", "STACK_", "DATABASE_URL", "JWT_SECRET")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {"STACK_FSYNC": "off"}


def every_process_of(name: str) -> list[psutil.Process]:
    """All living processes whose command line or working data names the instance, Postgres' children included."""
    found = instance.load(name)
    marks = [str(instance.home_of(name)) + "/"] + ([str(found.cluster)] if found else [])
    roots = [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(mark in argument for argument in process.info["cmdline"] or [] for mark in marks)
    ]
    return roots + [child for process in roots for child in process.children(recursive=True)]
