"""What row-level security costs: the lists a user sees first, through PostgREST, as that user and as service_role.

Both ask for the same rows with the same filter; as service_role nothing but the filter selects. The requests
alternate, so that whatever else the machine does meets both alike. The value is the ratio of the medians.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import jwt
import psycopg

from bench.options import Options
from bench.results import Result, at_most
from localstack.instance import Instance

SQL = Path(__file__).with_suffix(".sql")
ROUNDS = 150
WARM_UP = 10
LIMIT = 1.5
LOAD_SECONDS = 60.0

# The same rows: as service_role by a filter, and as the user; an admin's lists of an organization are functions.
LISTS = {
    "20 newest tasks": "tasks?{filter}&order=created_at.desc&limit=20",
    "active_tasks": "active_tasks?{filter}&order=priority,created_at&limit=20",
    "recent_conversations": "recent_conversations?{filter}&order=last_message_at.desc&limit=20",
    "project_progress": "project_progress?{filter}&order=created_at.desc&limit=20",
}
LISTS_OF_ADMINS = LISTS | {
    "20 newest tasks": "rpc/organization_tasks?organization_slug={organization}",
    "active_tasks": "rpc/organization_active_tasks?organization_slug={organization}",
    "recent_conversations": "rpc/organization_conversations?organization_slug={organization}",
}


def user(number: int) -> str:
    """The id of a numbered user; see rls.sql."""
    return f"00000000-0000-4000-8000-{number:012x}"


# Who looks, and at what.
BIG = "org-0000"
PEOPLE = {
    "member with 20,000 own tasks": (user(2), f"user_id=eq.{user(2)}", LISTS),
    "newcomer, organization with 5 rows": (user(12), f"user_id=eq.{user(12)}", LISTS),
    "admin, organization with 100,000": (user(1), f"organization_slug=eq.{BIG}", LISTS_OF_ADMINS),
}


def run(stack: Instance, _options: Options) -> Sequence[Result]:
    """Loads the rows, then times every list for every person."""
    results = [at_most("load 1,000,000 tasks", load(stack), "s", LOAD_SECONDS)]
    base = f"http://127.0.0.1:{stack.ports.rest}/"
    with httpx.Client(base_url=base, timeout=60) as client:
        for person, (user_id, condition, lists) in PEOPLE.items():
            for name, path in lists.items():
                mine = (path.format(filter=condition, organization=BIG), token(stack, user_id))
                theirs = (LISTS[name].format(filter=condition), stack.keys.service_role_key)
                as_user, as_server = compare(client, mine, theirs)
                results.append(at_most(f"{name}: {person}", as_user / as_server, "x service_role", LIMIT))
                results.append(Result(f"{name}: {person}, median", round(as_user * 1000, 3), "ms"))
    return results


def load(stack: Instance) -> float:
    """Writes the rows; returns the seconds it took."""
    began = time.monotonic()
    with psycopg.connect(stack.database_url()) as connection:
        connection.execute(SQL.read_text())
    took = time.monotonic() - began
    with psycopg.connect(stack.database_url("supabase_admin"), autocommit=True) as connection:
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")
    return took


def token(stack: Instance, user_id: str) -> str:
    """An access token as Auth would give it."""
    claims = {"sub": user_id, "role": "authenticated", "aud": "authenticated", "exp": int(time.time()) + 3600}
    return jwt.encode(claims, stack.keys.jwt_secret, algorithm="HS256")


def compare(client: httpx.Client, mine: tuple[str, str], theirs: tuple[str, str]) -> tuple[float, float]:
    """Median seconds of two alternating requests (path, token); both must give the same rows."""
    if fetch(client, *mine)[1] != fetch(client, *theirs)[1]:
        raise SystemExit(f"bench rls: {mine[0]} as the user and {theirs[0]} as service_role give different rows")
    for _ in range(WARM_UP):
        fetch(client, *mine)
        fetch(client, *theirs)
    times = [(fetch(client, *mine)[0], fetch(client, *theirs)[0]) for _ in range(ROUNDS)]
    return statistics.median(first for first, _ in times), statistics.median(second for _, second in times)


def fetch(client: httpx.Client, path: str, bearer: str) -> tuple[float, str]:
    """Seconds and text of one request."""
    began = time.perf_counter()
    response = client.get(path, headers={"Authorization": f"Bearer {bearer}"})
    took = time.perf_counter() - began
    if response.status_code != httpx.codes.OK:
        raise SystemExit(f"bench rls: {path}: {response.status_code} {response.text}")
    return took, response.text
