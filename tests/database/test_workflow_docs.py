"""docs/workflows.md: its examples are workflows that are accepted, and run as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker
from tests.database.workflow_kit import add_code, add_workflow, execution, steps

PAGE = (Path(__file__).parents[2] / "docs/workflows.md").read_text()


def examples() -> list[Row]:
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)]


def adapted(data: Row, tenant: Tenant) -> Any:
    return json.loads(json.dumps(data).replace("blog-post-writer", tenant.agent))


def complete(worker: Worker, tenant: Tenant, responses: dict[str, str]) -> None:
    """Complete what waits, each task with the response whose key begins its prompt."""
    while leases := worker.claim(tenant, 10):
        for lease in leases:
            prompt = lease["task"]["prompt"]
            (response,) = [text for begins, text in responses.items() if prompt.startswith(begins)]
            assert worker.complete(lease, response=response) == "ok"


def test_the_visual_example_runs_as_the_page_says(tenant: Tenant, worker: Worker) -> None:
    visual, _ = examples()
    add_workflow(tenant.owner, tenant, adapted(visual, tenant), framework="langgraph")
    row = tenant.owner.call(
        "start_workflow",
        name="Publish",
        organization_slug=tenant.slug,
        input={"topic": "tide pools"},
        timeout_seconds=60,
    )
    complete(worker, tenant, {"Write a post about tide pools.": "A post."})
    question = tenant.owner.row("select * from public.input_requests")
    assert (question["prompt"], question["required_role"]) == ("Publish this?\n\nA post.", "admin")
    assert str(question["execution_id"]) == row["id"]
    tenant.owner.call("respond_to_input_request", input_request_id=question["id"], response=Jsonb({"approved": True}))
    # The condition of the edge to "short" is computed by a worker; here it says that the post is not long.
    complete(worker, tenant, {"Evaluate": "false", "Give a title for:\n\nA post.": "Pools"})
    assert steps(tenant, row["id"]) == {
        "start": "completed",
        "draft": "completed",
        "review": "completed",
        "short": "skipped",
        "title": "completed",
    }
    row = execution(tenant.owner, row["id"])
    assert (row["status"], row["execution_data"]["output"]) == ("completed", {"title": "Pools"})


def test_the_code_example_is_accepted(tenant: Tenant) -> None:
    _, code = examples()
    assert add_code(tenant.owner, tenant, workflow_data=code, framework="langgraph")["workflow_data"] == code


def test_every_function_of_users_that_steers_executions_stands_on_the_page(tenant: Tenant) -> None:
    found = tenant.world.admin.rows(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace"
        " and proname ~ '(_execution|^start_workflow)$' and has_function_privilege('authenticated', oid, 'execute')"
    )
    assert {row["proname"] for row in found} == set(re.findall(r"^\| `(\w+)\(", PAGE, flags=re.MULTILINE))
