"""One stack: its name, ports, keys and folders, remembered in .stack/<name>/instance.json."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from localstack import envfile, keys, ports
from localstack.errors import StackError
from localstack.keys import Keys
from localstack.paths import DOTENV, ROOT, STATE
from localstack.ports import Ports

DEFAULT_NAME = "dev"
# As root, Postgres runs as another user, who could not enter a checkout below a private folder.
ROOT_CLUSTERS = Path("/var/lib/orchestrator-ai")


@dataclass(frozen=True)
class Instance:
    """What is fixed about a stack from its first start on; only the ports may change later."""

    name: str
    ports: Ports
    keys: Keys
    cluster: Path  # holds data/, of the user that Postgres runs as

    @property
    def home(self) -> Path:
        """The state folder, .stack/<name>."""
        return home_of(self.name)

    @property
    def logs(self) -> Path:
        """One file for each service."""
        return self.home / "logs"

    @property
    def url(self) -> str:
        """The gateway's address: what clients call SUPABASE_URL."""
        return f"http://127.0.0.1:{self.ports.api}"

    def database_url(self, user: str = "postgres") -> str:
        """The database as seen by one of the four roles that may log in."""
        return f"postgresql://{user}:{self.password(user)}@127.0.0.1:{self.ports.database}/postgres"

    def password(self, user: str) -> str:
        """The password of one of the four roles that may log in."""
        return {
            "postgres": self.keys.postgres_password,
            "supabase_admin": self.keys.superuser_password,
            "supabase_auth_admin": self.keys.auth_password,
            "authenticator": self.keys.authenticator_password,
        }[user]

    def environment(self) -> dict[str, str]:
        """The variables that clients and the worker read."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_ANON_KEY": self.keys.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.keys.service_role_key,
            "SUPABASE_PUBLISHABLE_KEY": self.keys.publishable_key,
            "SUPABASE_SECRET_KEY": self.keys.secret_key,
            "DATABASE_URL": self.database_url(),
            "JWT_SECRET": self.keys.jwt_secret,
        }

    def save(self) -> None:
        """Remembers this instance (mode 0600: the record holds its secrets)."""
        record = {"checkout": str(ROOT), "api_port": self.ports.api, "cluster": str(self.cluster)}
        record_text = json.dumps(record | {"keys": asdict(self.keys)}, indent=2)
        envfile.write_private(self.home / "instance.json", record_text)

    def move_to(self, new_ports: Ports) -> "Instance":
        """The same stack on other ports; saved."""
        moved = replace(self, ports=new_ports)
        moved.save()
        return moved


def home_of(name: str) -> Path:
    """The state folder of an instance; raises StackError for a name that is not one."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise StackError(f"{name!r} is no instance name", "use lower-case letters, digits and '-', a letter first")
    return STATE / name


def load(name: str) -> Instance | None:
    """The instance as last saved; None when it was never started here."""
    path = home_of(name) / "instance.json"
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StackError(f"{path} belongs to another user", "run this as that user, or remove .stack") from error
    cluster = Path(record["cluster"])
    if record["checkout"] != str(ROOT) and cluster.is_relative_to(ROOT_CLUSTERS):
        return None  # this checkout is a copy: the cluster is the original's
    if not cluster.is_relative_to(ROOT_CLUSTERS):
        cluster = path.parent / "cluster"
    return Instance(name, Ports(record["api_port"]), Keys(**record["keys"]), cluster)


def require(name: str) -> Instance:
    """The instance as last saved; raises StackError when there is none."""
    found = load(name)
    if found is None:
        raise StackError(f"there is no stack {name!r} here", f"start it: ./scripts/stack up{_flag(name)}")
    return found


def create(name: str, wanted: Ports) -> Instance:
    """A new instance with new keys and an empty cluster folder; saved."""
    home = home_of(name)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    cluster = ROOT_CLUSTERS / f"{name}-{secrets.token_hex(4)}" if os.geteuid() == 0 else home / "cluster"
    shutil.rmtree(home / "cluster", ignore_errors=True)
    instance = Instance(name, wanted, keys.generate(), cluster)
    instance.save()
    return instance


def wanted_ports(name: str, option: str | None) -> Ports | None:
    """The ports asked for by --port or, for dev alone, by STACK_PORT; None means: any free ones."""
    value = option
    if value is None and name == DEFAULT_NAME:
        value = os.environ.get("STACK_PORT") or envfile.read(DOTENV).get("STACK_PORT") or str(ports.DEFAULT_API_PORT)
    port = ports.parse(value or "0")
    return Ports(port) if port else None


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the instance's lock: two commands that change it run one after the other.

    Programs run with close_fds=False share it: should this process be killed, the next command waits for them too.
    """
    path = home_of(name) / "lock"
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            os.set_inheritable(file.fileno(), True)
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                print(f"stack {name}: waiting for another stack command to finish", flush=True)
                flock(file, LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return
        # `down --delete` has removed the file we waited for: begin anew.


@contextmanager
def locked_copies() -> Iterator[None]:
    """Holds the lock of what is copied to ROOT_CLUSTERS for root's Postgres."""
    with (ROOT_CLUSTERS / "lock").open("w") as file:
        flock(file, LOCK_EX)
        yield


def _flag(name: str) -> str:
    return "" if name == DEFAULT_NAME else f" --name {name}"
