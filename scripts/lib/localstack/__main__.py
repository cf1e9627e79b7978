"""Command line of ./scripts/stack."""

import argparse
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from backup.errors import BackupError
from localstack import archiving, envfile, instance, lifecycle, migrations, postgres, processes, services
from localstack.errors import StackError
from localstack.instance import DEFAULT_NAME, Instance
from localstack.paths import DOTENV, ROOT


def main() -> int:
    """Runs one command; the exit code is 1 for an error that was explained, 130 or 143 when interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    options = _parser().parse_args()
    try:
        return COMMANDS[options.command](options)
    except (StackError, BackupError) as error:
        print(f"stack {options.name}: {error}", *filter(None, [error.hint]), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def up(options: argparse.Namespace) -> int:
    """Starts what is missing; on a fresh database applies migrations and seeds."""
    with instance.locked(options.name):
        stack = lifecycle.ensure(options.name, options.port)
        if options.backups and archiving.switch(stack, options.backups):
            lifecycle.stop_all(stack)  # archiving begins and ends with a start of Postgres
        with lifecycle.started(stack) as started:
            _publish(stack)
            if options.reset or migrations.is_fresh(stack):
                migrations.reset(stack, options.workdir)
            elif started:
                _warn_of_pending(stack, options.workdir)
    print(f"stack {stack.name}: {stack.url} is up" + (f" (started {', '.join(started)})" if started else ""))
    return 0


def down(options: argparse.Namespace) -> int:
    """Stops everything; the data stays unless --delete."""
    stopped: list[str] = []
    if instance.load(options.name):
        with instance.locked(options.name):
            stack = instance.require(options.name)
            stopped = lifecycle.stop_all(stack)
            if options.delete:
                postgres.remove_cluster(stack)
                shutil.rmtree(stack.home)
    print(f"stack {options.name}: " + (f"stopped {', '.join(stopped)}" if stopped else "nothing was running"))
    return 0


def reset(options: argparse.Namespace) -> int:
    """Wipes the database and applies migrations and seeds anew."""
    with instance.locked(options.name):
        stack = _running(options.name)
        migrations.reset(stack, options.workdir)
    print(f"stack {options.name}: the database is fresh")
    return 0


def migrate(options: argparse.Namespace) -> int:
    """Applies the pending migrations and prints a table of all."""
    with instance.locked(options.name):
        stack = _running(options.name)
        before = migrations.listing(stack, options.workdir)
        if not all(migration.applied for migration in before):
            migrations.push(stack, options.workdir)
        after = migrations.listing(stack, options.workdir)
    old = {migration.version for migration in before if migration.applied}
    rows = []
    for migration in after:
        now = "[green]applied now" if migration.applied else "[red]pending"
        name = migration.name.partition("_")[2] if migration.name else "[yellow](no file)"
        rows.append((migration.version, name, "applied" if migration.version in old else now))
    _print_table(stack, ("version", "migration", "state"), rows)
    return 0


def status(options: argparse.Namespace) -> int:
    """Prints a table; exit code 0 only when every service is healthy."""
    stack = instance.require(options.name)
    planned = services.all_services(stack)
    found = processes.running(planned)
    rows = []
    healthy = 0
    for service in planned:
        process = found.get(service.name)
        well = process is not None and service.healthy()
        healthy += well
        state = "[green]healthy" if well else "[yellow]not answering" if process else "[red]down"
        pid = str(process.pid) if process else "-"
        rows.append((service.name, state, pid, str(service.ports[0]), os.path.relpath(service.log)))
    _print_table(stack, ("service", "state", "pid", "port", "log"), rows)
    return 0 if healthy == len(planned) else 1


def env(options: argparse.Namespace) -> int:
    """Prints export lines for a shell to evaluate."""
    print(_exports(instance.require(options.name)), end="")
    return 0


def logs(options: argparse.Namespace) -> int:
    """Shows the end of the logs; with -f goes on until interrupted."""
    stack = instance.require(options.name)
    chosen = [s.log for s in services.all_services(stack) if options.service in (None, s.name) and s.log.exists()]
    if not chosen:
        raise StackError("there are no logs yet", f"start it: ./scripts/stack up --name {stack.name}")
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", "100", *(["-F"] if options.follow else []), *map(str, chosen)])  # noqa: S606


COMMANDS = {"up": up, "down": down, "reset": reset, "migrate": migrate, "status": status, "env": env, "logs": logs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/stack", description="The local stack, without Docker.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.add_argument("--name", default=DEFAULT_NAME, help="which instance (default: %(default)s)")
        if name in ("up", "reset", "migrate"):
            command.add_argument("--workdir", type=Path, default=ROOT, help="folder with another supabase/ folder")
        if name == "up":
            command.add_argument("--port", help="API port, 0 for any; default STACK_PORT or 6010 (dev), any (others)")
            command.add_argument("--backups", metavar="DIR", help="archive the WAL, encrypted, in a folder (none: off)")
            command.add_argument("--reset", action="store_true", help="reset the database in any case")
        if name == "down":
            command.add_argument("--delete", action="store_true", help="delete the data and the keys too")
        if name == "logs":
            command.add_argument("service", nargs="?", choices=("postgres", "postgrest", "auth", "gateway"))
            command.add_argument("-f", "--follow", action="store_true")
    return parser


def _print_table(stack: Instance, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to load, and `up` and `env` do without
    from rich.table import Table  # noqa: PLC0415

    table = Table(*header, title=f"stack {stack.name}")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _running(name: str) -> Instance:
    stack = instance.require(name)
    database = postgres.service(stack)
    if database.name not in processes.running([database]):
        raise StackError("it is not up", f"start it: ./scripts/stack up --name {name}")
    return stack


def _publish(stack: Instance) -> None:
    if stack.name != DEFAULT_NAME:
        envfile.write_private(stack.home / "env", _exports(stack))
        return
    for name in envfile.publish(DOTENV, stack.environment()):
        print(f"stack dev: .env sets {name} itself, which stays; ours: ./scripts/stack env", file=sys.stderr)


def _exports(stack: Instance) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment().items())


def _warn_of_pending(stack: Instance, workdir: Path) -> None:
    pending = [migration for migration in migrations.listing(stack, workdir) if not migration.applied]
    if pending:
        print(f"stack {stack.name}: {len(pending)} pending migrations; apply them: ./scripts/migrate", file=sys.stderr)


def _terminated(signal_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    sys.exit(main())
