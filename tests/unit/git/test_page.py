"""docs/git-agents.md says what is: its example is an agent without a warning, its table has every key."""

from __future__ import annotations

import re
from pathlib import Path

from tests.git_server import Origin
from tests.unit.git.test_reading import read
from workers.git import agent_file
from workers.git.agent_file import read_agent

PAGE = (Path(__file__).parents[3] / "docs/git-agents.md").read_text()


async def test_the_example_is_an_agent(tmp_path: Path) -> None:
    (example,) = re.findall(r"```markdown\n(.*?)```", PAGE, flags=re.DOTALL)
    origin = Origin(tmp_path / "agents.git")
    _, files = await read(origin, origin.commit({"agents/a.md": example}))
    file = read_agent("acme", files["agents/a.md"], "c1")
    origin.repo.close()
    assert file.warnings == []
    assert file.row["slug"] == "acme-customer-support"
    config = file.row["llm_config"]
    assert config["tools"]["call_agents"] == {"agents": ["acme-refunds", "acme-fact-checker"]}
    assert [server["url"] for server in config["tools"]["mcp_servers"]] == [
        "https://mcp.example.com/orders",
        "${MCP_WIKI_URL}",
    ]
    assert (config["parameters"], config["limits"]) == ({"temperature": 0.4, "maxTokens": 2000}, {"max_requests": 12})


def test_the_table_has_every_key_and_no_other() -> None:
    table = PAGE.split("## Front matter\n\n", 1)[1].split("\n\n", 1)[0]
    listed = {key for line in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert listed == set(agent_file._Front.model_fields)
