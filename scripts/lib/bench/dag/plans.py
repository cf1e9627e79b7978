"""Plans of steps that do nothing, and the projects made of them."""

import random
from typing import Any

from psycopg.types.json import Jsonb

from bench.queue.database import USER, Database

AGENT = "bench-agent"
WIDTH = 50

Step = dict[str, Any]


def step(number: int, *dependencies: int) -> Step:
    """One step; numbers are names."""
    return {"id": f"s{number}", "agent": AGENT, "prompt": "Nothing.", "dependencies": [f"s{n}" for n in dependencies]}


def chain(size: int) -> list[Step]:
    """Each step after the one before it."""
    return [step(0), *(step(n, n - 1) for n in range(1, size))]


def fan(size: int) -> list[Step]:
    """One step, then all at once, then one that needs them all."""
    return [step(0), *(step(n, 0) for n in range(1, size - 1)), step(size - 1, *range(1, size - 1))]


def random_layers(size: int) -> list[Step]:
    """Layers of WIDTH steps, each of which needs one to three of the layer before; the same in every run."""
    dice = random.Random(1)  # noqa: S311 - not for secrets
    return [step(n, *_needs(dice, n // WIDTH)) for n in range(size)]


def _needs(dice: random.Random, layer: int) -> list[int]:
    return dice.sample(range((layer - 1) * WIDTH, layer * WIDTH), dice.randint(1, 3)) if layer else []


def begin(database: Database, steps: list[Step], organization: str) -> str:
    """Add a project that runs at once; returns its id."""
    row = database.connection.execute(
        "with c as ("
        "insert into public.agent_conversations (organization_slug, user_id, agent_slug, agent_name, agent_type)"
        " values (%(organization)s, %(user)s, %(agent)s, 'Bench', 'context') returning id)"
        " insert into public.projects (organization_slug, user_id, conversation_id, plan_json, status)"
        " select %(organization)s, %(user)s, c.id, %(plan)s, 'running' from c returning id::text",
        {"organization": organization, "user": USER, "agent": AGENT, "plan": Jsonb({"steps": steps})},
    ).fetchone()
    assert row is not None
    return str(row[0])
