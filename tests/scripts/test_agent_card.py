"""./scripts/agent-card: the card of an agent as YAML."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest
from agent_card import yaml_lines

from localstack.paths import ROOT
from tests.api.helpers import caller, found, ok, sign_up
from tests.scripts.scratch import environment
from tests.stack import Stack


def agent_card(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "agent-card"), *arguments]
    # Set but empty, so that a .env of whoever runs the tests does not count.
    nothing = dict.fromkeys(("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY", "A2A_PUBLIC_URL"), "")
    env = environment() | nothing | variables
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def keys(stack: Stack) -> dict[str, str]:
    return {"SUPABASE_URL": stack.url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}


def read(lines: list[str], indent: int = 0) -> Any:
    """Read back the YAML that yaml_lines writes: block style, every scalar on the line of its key."""
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        bare = line[indent:]
        if bare[0] != " ":
            head, _, rest = ("-", "", bare[2:]) if bare.startswith("- ") else bare.partition(":")
            items.append((head, [rest.strip()] if head != "-" else [" " * (indent + 2) + rest]))
        else:
            items[-1][1].append(line)
    values = [value(head, body, indent) for head, body in items]
    return values if items[0][0] == "-" else {head: told for (head, _), told in zip(items, values, strict=True)}


def value(head: str, body: list[str], indent: int) -> Any:
    first = body[0].strip()
    if head == "-":
        nested = len(body) > 1 or (": " in first and first[0] not in '"{[') or first.endswith(":")
        return read(body, indent + 2) if nested else scalar(first)
    return scalar(first) if len(body) == 1 else read(body[1:], indent + 2)


def scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_it_prints_the_card_as_yaml(stack: Stack, keys: dict[str, str]) -> None:
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as http:
        odd = 'Writes: "posts" # no comment\n\u2028- über \\ {all} 🐙'
        tenant = found(sign_up(http, stack.anon_key), description=odd, tags=["true", "1.0", "a b"])
        done = agent_card(tenant.agent, **keys)
        card = ok(caller(http, stack.service_role_key).rpc("agent_card", slug=tenant.agent))
    assert (done.returncode, done.stderr) == (0, "")
    assert read(done.stdout.removesuffix("\n").split("\n")) == card
    assert json.loads(agent_card(tenant.agent, "--json", **keys).stdout) == card
    public = agent_card(tenant.agent, "--json", A2A_PUBLIC_URL="https://agents.example.com/", **keys).stdout
    where = f"https://agents.example.com/a2a/{tenant.organization}/{tenant.agent}"
    assert json.loads(public)["supportedInterfaces"][0]["url"] == where


def test_prettier_takes_it_for_yaml_with_the_same_structure(keys: dict[str, str]) -> None:
    done = agent_card("blog-post-writer", **keys)
    prettier = [str(ROOT / "node_modules" / ".bin" / "prettier"), "--parser", "yaml"]
    pretty = subprocess.run(prettier, input=done.stdout, capture_output=True, text=True, check=False, timeout=60)
    assert (pretty.returncode, pretty.stderr) == (0, "")
    assert pretty.stdout == done.stdout


def test_what_cannot_be_printed_is_said_with_what_to_do(keys: dict[str, str]) -> None:
    for arguments, variables, told in [
        (["no-such-agent"], keys, 'no agent "no-such-agent"'),
        (["x"], {}, "scripts/stack up"),
        (["x", "--name", "no-such-stack"], keys, "no-such-stack"),
        (["x"], keys | {"SUPABASE_URL": "http://127.0.0.1:1"}, "agent-card: "),
    ]:
        done = agent_card(*arguments, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_help_and_a_missing_slug() -> None:
    assert "SUPABASE_URL" in agent_card("--help").stdout
    assert agent_card().returncode == 2


def test_lists_within_lists_and_empty_ones_are_written() -> None:
    card: dict[str, Any] = {"a": [[1, 2], [{"b": []}]], "c": {}, "d": None}
    assert list(yaml_lines(card)) == ["a:", "  - - 1", "    - 2", "  - - b: []", "c: {}", "d: null"]
