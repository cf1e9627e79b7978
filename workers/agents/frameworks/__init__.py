"""Agents and workflows of frameworks (LangGraph, Agno, CrewAI, n8n), which run on servers of their own.

An adapter speaks its framework's API, and nothing of the framework runs in this process. What an adapter needs besides
this package is an optional extra, imported when it is first used.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping

import httpx

from workers.agents.asked import questions_recorded
from workers.agents.external.bounded import bound_values
from workers.agents.external.links import Links
from workers.agents.frameworks.settings import Framework, Remote, read_remote
from workers.agents.frameworks.visit import ANSWERED, CALLED, Adapter, Order, Visit
from workers.agents.frameworks.wire import MAX_RESPONSE_BYTES, Wire, refuse_redirect
from workers.agents.result import AgentResult, Reporter
from workers.agents.status_webhooks import StatusWebhooks
from workers.agents.stopping import is_for_good
from workers.backend import Backend
from workers.backoff import Backoff
from workers.contract import AgentRow, ClaimedTask
from workers.door import Door
from workers.errors import TaskFailure
from workers.secrets import Secrets
from workers.trace import step

_NAMES: Mapping[Framework, str] = {"langgraph": "LangGraph", "agno": "AgentOS", "crewai": "CrewAI", "n8n": "n8n"}


def _poll_waits() -> Backoff:
    return Backoff(first=0.5, cap=10.0)


class Frameworks:
    """Runs what a framework's server holds."""

    def __init__(
        self,
        door: Door,
        secrets: Secrets,
        database: Backend,
        webhooks: StatusWebhooks,
        *,
        poll_waits: Callable[[], Backoff] = _poll_waits,
    ) -> None:
        self._door = door
        self._secrets = secrets
        self._links = Links(database)
        self._webhooks = webhooks
        self._poll_waits = poll_waits

    async def run(  # noqa: PLR0913 - they are what a run is made of
        self,
        claimed: ClaimedTask,
        agent: AgentRow,
        order: Order,
        reporter: Reporter,
        *,
        framework: Framework,
        endpoint: object,
    ) -> AgentResult:
        """Run one attempt; `endpoint` is the agent's, or the workflow's own.

        Raises:
            InputNeeded: the run waits for a person.
            TaskFailure: the attempt failed; what the server said about it is quoted, without secrets.
        """
        organization = claimed.task.organization_slug
        make = load_adapter(framework)
        remote = await read_remote(framework, endpoint, organization, self._secrets)
        try:
            link = await self._links.begin(claimed, remote.server)
            async with self._client(claimed, remote) as http:
                visit = Visit(
                    framework=framework,
                    claimed=claimed,
                    agent=agent,
                    order=order,
                    remote=remote,
                    wire=Wire(http, f"The {_NAMES[framework]} server"),
                    links=self._links,
                    link=link,
                    reporter=reporter,
                    secrets=self._secrets,
                    webhooks=self._webhooks,
                    polls=self._poll_waits,
                )
                return await self._recorded(visit, make(visit))
        except TaskFailure as failure:
            failure.message = self._secrets.redact(failure.message, organization)
            raise

    def _client(self, claimed: ClaimedTask, remote: Remote) -> httpx.AsyncClient:
        http = self._door.client(
            claimed.allowed_hosts,
            timeout=remote.endpoint.timeout,
            max_bytes=MAX_RESPONSE_BYTES,
            organization=claimed.task.organization_slug,
        )
        http.base_url = remote.endpoint.url
        http.headers.update(remote.endpoint.headers)
        http.event_hooks = {"response": [refuse_redirect, bound_values]}
        return http

    async def _recorded(self, visit: Visit, adapter: Adapter) -> AgentResult:
        given = {"prompt": visit.order.prompt, "data": dict(visit.order.data)}
        name = f"{visit.framework} {visit.remote.endpoint.url.host}"
        with questions_recorded(visit.claimed), step("http_request", name, given) as record:
            try:
                result = await self._visit(visit, adapter)
            finally:
                record.metadata = {"framework": visit.framework, "remote_run_id": visit.link.remote_task_id}
            record.output = result.text if result.document is None else result.document
            return result

    async def _visit(self, visit: Visit, adapter: Adapter) -> AgentResult:
        visit.reporter.progress(CALLED, f"{visit.what} called")
        try:
            result = await adapter.run()
        except asyncio.CancelledError as stopped:
            if is_for_good(stopped, visit.claimed):
                await visit.quietly(adapter.cancel)
            raise
        except TaskFailure as failure:
            if failure.code == "response_too_large" and not visit.over:
                await visit.quietly(adapter.cancel)
                visit.over = True
            if visit.over:  # The next attempt begins anew.
                await self._links.forget(visit.claimed)
            raise
        visit.reporter.progress(ANSWERED, f"{visit.what} answered")
        return result


def load_adapter(framework: Framework) -> Callable[[Visit], Adapter]:
    """Return what makes a framework's adapter, importing what it needs.

    Raises:
        TaskFailure: extra_missing, with the command that installs it.
    """
    try:
        module = importlib.import_module(f"workers.agents.frameworks.{framework}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "workers":
            raise
        raise TaskFailure(
            "extra_missing",
            f"This worker cannot call {_NAMES[framework]} servers, because the package {error.name} is not installed. "
            f"Its operator runs: pip install 'orchestrator-ai[{framework}]'",
            data={"extra": framework},
        ) from None
    make: Callable[[Visit], Adapter] = module.make
    return make


__all__ = ["Framework", "Frameworks", "Order", "Remote", "load_adapter"]
