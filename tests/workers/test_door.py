"""The door of a real worker: what tenants' agents may not reach."""

from __future__ import annotations

from tests.workers.conftest import Endpoint, Lab


def test_a_worker_refuses_agents_on_private_addresses_unless_the_operator_allows_them(
    own_lab: Lab, endpoint: Endpoint
) -> None:
    port = endpoint.url.rpartition(":")[2]
    urls = (endpoint.url, f"https://127.0.0.1:{port}", f"https://localhost:{port}", "https://169.254.169.254/latest/")
    tasks = [own_lab.add_task(own_lab.add_api_agent(url)) for url in urls]
    own_lab.start_worker("--once", ORCHESTRATOR_ALLOW_PRIVATE_HOSTS="0").exit_code(60)
    ends = [own_lab.await_task(task, "failed") for task in tasks]
    assert [end["error_code"] for end in ends] == ["scheme_not_allowed"] + ["address_not_allowed"] * 3
    assert [end["attempt"] for end in ends] == [1] * 4  # To try again would change nothing.
    assert endpoint.bodies == []


def test_a_worker_asks_only_hosts_that_the_organization_allows(own_lab: Lab, endpoint: Endpoint) -> None:
    allowed = '{"network": {"allowed_hosts": ["api.example.com"]}}'
    query = "update public.organizations set settings = %s where slug = %s"
    task = own_lab.add_task(own_lab.add_api_agent(endpoint.url))
    own_lab.sql.execute(query, (allowed, own_lab.organization))
    own_lab.start_worker("--once").exit_code(60)
    assert own_lab.await_task(task, "failed")["error_code"] == "host_not_allowed"
    assert endpoint.bodies == []
    own_lab.sql.execute(query, (allowed.replace("api.example.com", "127.0.0.1"), own_lab.organization))
    own_lab.post("rpc/retry_task", task_id=task)
    own_lab.start_worker("--once").exit_code(60)
    own_lab.await_task(task)
    assert len(endpoint.bodies) == 1
