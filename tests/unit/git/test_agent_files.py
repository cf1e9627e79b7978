"""From front matter to an agent's row: every documented key, every form, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from workers.agents.llm_config import read_llm_config
from workers.git.agent_file import AgentFile, is_agent, read_agent, slug_of
from workers.git.mcp import FileProblem, mcp_servers

Row = dict[str, Any]
LEAST: Row = {"name": "Writer", "model": "claude-sonnet-4-5"}


def read(body: str = "You write.", **front: Any) -> AgentFile:
    about = {"path": "agents/a.md", "hash": "h", "front": {**LEAST, **front}, "body": body}
    return read_agent("acme", about, "c1")


def refused(**front: Any) -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        read(**front)
    assert caught.value.message.startswith(("It ", "Its ", "Whose "))
    return caught.value


def codes(file: AgentFile) -> list[str]:
    assert all((entry["path"], entry["level"]) == ("agents/a.md", "warning") for entry in file.warnings)
    return [entry["code"] for entry in file.warnings]


def test_the_least_is_a_name_a_model_and_a_prompt() -> None:
    file = read()
    assert codes(file) == []
    assert file.row["llm_config"] == {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "parameters": {},
        "tools": {},
        "limits": {"max_requests": 10},
    }
    assert (file.row["slug"], file.row["description"], file.row["context"]) == ("acme-writer", "Writer", "You write.")
    assert (file.row["version"], file.row["tags"], file.row["frontmatter"]) == (None, [], LEAST)


def test_every_documented_key_is_honoured() -> None:
    front: Row = {
        "description": "Writes posts.",
        "version": "1.2.3",
        "model": "gpt-4o",
        "providers": ["openai"],
        "mcpServers": {"wiki": {"url": "https://mcp.example.com/mcp", "tools": ["search"]}},
        "allowedAgents": ["Fact Checker", "seo-helper"],
        "tags": ["seo", "text", "seo"],
        "examples": ["Write about tides"],
        "contextScope": "FULL",
        "maxIterations": 7,
        "temperature": 0.3,
        "maxTokens": 900,
        "tools": ["ask_person", "call_agent"],
        "exposed": True,
        "systemPrompt": "not this",
    }
    file = read(**front)
    assert codes(file) == []
    config = read_llm_config(file.row["llm_config"])
    assert (config.provider, config.model, config.limits.max_requests) == ("openai", "gpt-4o", 7)
    assert config.settings == {"temperature": 0.3, "max_tokens": 900}
    assert config.ask_person is not None
    assert config.call_agents is not None
    assert config.call_agents.agents == ["acme-fact-checker", "acme-seo-helper", "seo-helper"]
    (server,) = config.mcp_servers
    assert (server.name, server.url, server.tools) == ("wiki", "https://mcp.example.com/mcp", ["search"])
    assert (file.row["version"], file.row["tags"]) == ("1.2.3", ["seo", "text"])
    metadata = file.row["metadata"]
    assert metadata["usage_examples"] == [{"input": {"prompt": "Write about tides"}}]
    assert (metadata["exposed"], metadata["context_scope"]) == (True, "FULL")


def test_a_null_is_as_good_as_nothing() -> None:
    nulls: Row = dict.fromkeys(["description", "tags", "mcpServers", "temperature", "tools"])
    assert read(**nulls).row["tags"] == []


def test_what_nothing_reads_is_reported_and_stops_nothing() -> None:
    file = read(
        color="red",
        max_tokens=3,
        tools=["run_data_read"],
        contextScope="NONE",
        version="latest",
        allowedAgents=["*", "name@git+https://x/y#z"],
    )
    assert codes(file) == [
        "version_ignored",
        "allowed_agent_unusable",
        "allowed_agent_unusable",
        "tool_unknown",
        "context_scope_unused",
        "key_unknown",
    ]
    assert "color, max_tokens" in file.warnings[-1]["message"]
    assert codes(read(tools=["call_agent"])) == ["allowed_agents_missing"]


@pytest.mark.parametrize(
    ("front", "code"),
    [
        ({"name": None}, "name_missing"),
        ({"model": None}, "model_missing"),
        ({"name": " "}, "key_invalid"),
        ({"name": 7}, "key_invalid"),
        ({"name": "n" * 256}, "key_invalid"),
        ({"description": ["x"]}, "key_invalid"),
        ({"description": "x" * 4001}, "key_invalid"),
        ({"tags": {"a": 1}}, "key_invalid"),
        ({"tags": ["x"] * 51}, "key_invalid"),
        ({"temperature": "warm"}, "key_invalid"),
        ({"temperature": 9}, "key_invalid"),
        ({"maxTokens": -1}, "key_invalid"),
        ({"maxTokens": 1.5}, "key_invalid"),
        ({"maxIterations": 0}, "key_invalid"),
        ({"maxIterations": True}, "key_invalid"),
        ({"exposed": "yes"}, "key_invalid"),
        ({"contextScope": "SOME"}, "key_invalid"),
        ({"model": "a b"}, "provider_unknown"),
        ({"model": "gpt-4#x"}, "key_invalid"),
        ({"model": "llama3.2"}, "provider_unknown"),
        ({"model": "llama3.2", "providers": ["nobody"]}, "provider_unknown"),
        ({"allowedAgents": [f"n{number}" for number in range(26)]}, "key_invalid"),
    ],
    ids=str,
)
def test_what_cannot_be_an_agent_says_why(front: Row, code: str) -> None:
    problem = refused(**front)
    assert problem.code == code
    assert len(problem.message) < 400


@pytest.mark.parametrize(("body", "prompt"), [("", "The other."), ("  \n", "The other."), ("Mine.", "Mine.")])
def test_the_body_wins_over_system_prompt(body: str, prompt: str) -> None:
    assert read(body, systemPrompt="The other.").row["context"] == prompt


def test_an_agent_without_a_prompt_is_none() -> None:
    for body, code in (("", "prompt_missing"), ("x" * 200_001, "prompt_too_large")):
        with pytest.raises(FileProblem) as caught:
            read(body)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("model", "providers", "found"),
    [
        ("gpt-4", None, ("openai", "gpt-4")),
        ("o3-mini", None, ("openai", "o3-mini")),
        ("gemini-2.5-pro", None, ("google", "gemini-2.5-pro")),
        ("claude-3-5-sonnet", "openai", ("openai", "claude-3-5-sonnet")),
        ("openai/gpt-4o", None, ("openai", "gpt-4o")),
        ("ollama:llama3.2:1b", None, ("ollama", "llama3.2:1b")),
        ("llama3.2:1b", ["ollama"], ("ollama", "llama3.2:1b")),
        ("llama3.2", [{"name": "azure"}, {"name": "ollama", "url": "x"}], ("ollama", "llama3.2")),
        ("llama3.2", {"ollama": {}}, ("ollama", "llama3.2")),
    ],
)
def test_the_provider_is_found(model: str, providers: Any, found: tuple[str, str]) -> None:
    config = read(model=model, providers=providers).row["llm_config"]
    assert (config["provider"], config["model"]) == found


@pytest.mark.parametrize(("version", "kept"), [(1, "1.0.0"), (1.5, "1.5.0"), ("v2.1", "2.1.0"), ("0.0.1", "0.0.1")])
def test_a_version_may_be_short(version: Any, kept: str) -> None:
    assert read(version=version).row["version"] == kept


@pytest.mark.parametrize(
    ("given", "name", "url", "tools"),
    [
        ({"wiki": ["a", "b"]}, "wiki", "${MCP_WIKI_URL}", ["a", "b"]),
        ({"wiki": "*"}, "wiki", "${MCP_WIKI_URL}", None),
        ({"wiki": None}, "wiki", "${MCP_WIKI_URL}", None),
        ({"wiki": []}, "wiki", "${MCP_WIKI_URL}", None),
        (["my wiki"], "my-wiki", "${MCP_MY_WIKI_URL}", None),
        ([{"name": "wiki", "url": "https://x/mcp"}], "wiki", "https://x/mcp", None),
        ({"https://x.example/mcp": ["a"]}, "x-example-mcp", "https://x.example/mcp", ["a"]),
    ],
    ids=str,
)
def test_mcp_servers_come_in_all_their_forms(given: Any, name: str, url: str, tools: Any) -> None:
    (server,) = mcp_servers(given)
    assert (server["name"], server["url"], server.get("tools")) == (name, url, tools)
    assert read(mcpServers=given).row["llm_config"]["tools"]["mcp_servers"] == [server]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("wiki", "mcp_server_invalid"),
        (7, "mcp_server_invalid"),
        ([7], "mcp_server_invalid"),
        ({"db": {"command": "npx", "args": ["-y", "x"]}}, "mcp_server_invalid"),
        ({"db": {"url": "https://x", "env": {}}}, "mcp_server_invalid"),
        ({"db": 7}, "mcp_server_invalid"),
        ({"db": {"url": "https://x", "headers": {"A": 1}}}, "mcp_server_invalid"),
        ({"…": None}, "mcp_server_invalid"),
        ({"db": {"url": "https://x", "headers": {"Authorization": "Bearer s3cret"}}}, "credential_is_literal"),
        ({"db": {"url": "https://me:s3cret@x/mcp"}}, "credential_is_literal"),
        ({"db": {"url": "https://x/mcp?a=1&api_key=s3cret"}}, "credential_is_literal"),
        (["https://x/mcp?token=s3cret"], "credential_is_literal"),
        ({"https://s3cret@x": "*"}, "credential_is_literal"),
        ({"db": {"url": "file:///etc/passwd"}}, "key_invalid"),
        ({"a b": None, "a-b": None}, "key_invalid"),
        ({f"s{number}": None for number in range(11)}, "key_invalid"),
    ],
    ids=str,
)
def test_mcp_servers_that_cannot_be_used_say_why(given: Any, code: str) -> None:
    problem = refused(mcpServers=given)
    assert problem.code == code
    assert "s3cret" not in problem.message


def test_a_credential_of_an_mcp_server_is_named() -> None:
    (server,) = mcp_servers({"db": {"url": "https://x", "headers": {"Authorization": "Bearer ${DB_TOKEN}"}}})
    assert server["headers"] == {"Authorization": "Bearer ${DB_TOKEN}"}
    (server,) = mcp_servers({"db": {"url": "https://me:${DB_PASS}@x/mcp?key=${DB_TOKEN}&page=1"}})
    assert server["url"] == "https://me:${DB_PASS}@x/mcp?key=${DB_TOKEN}&page=1"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Writer", "acme-writer"),
        ("CustomerSupport", "acme-customer-support"),
        ("  SEO: helper 2.0 ", "acme-seo-helper-2-0"),
        ("Écrivain", "acme-ecrivain"),
        ("../../etc", "acme-etc"),
    ],
)
def test_a_name_becomes_a_slug_of_its_organization(name: str, slug: str) -> None:
    assert slug_of("acme", name) == slug


def test_slugs_that_would_be_too_long_or_empty_stay_apart() -> None:
    names = ["写手", "作家", "a" * 80, "a" * 81, "…"]
    slugs = {slug_of(organization, name) for organization in ("acme", "o" * 60) for name in names}
    assert len(slugs) == 10
    assert all(len(slug) <= 63 and slug.isascii() for slug in slugs)


def test_a_page_of_a_site_is_no_agent() -> None:
    assert not is_agent({"title": "About", "layout": "page"})
    assert is_agent({"model": "gpt-4"})
