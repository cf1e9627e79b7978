"""External agents: agents run by somebody else, reached by the A2A protocol (1.0 and 0.3) through the official SDK.

The agent's card says how it is reached. The task goes out as one message; the remote task is followed by a stream, or
polled, until it is over or asks. Its id is kept in the database, so that the next attempt, should this one be lost,
goes on with the same remote task.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import httpx
from a2a.client import Client, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.types import AgentCapabilities, AgentCard, AgentInterface

from workers.agents.asked import questions_recorded
from workers.agents.external.answer import failure_of, question_of, result_of
from workers.agents.external.bounded import bound_values
from workers.agents.external.cards import Card, Cards, Interface, check_skill, choose_interface
from workers.agents.external.config import Remote, read_remote
from workers.agents.external.links import Links
from workers.agents.external.remote import ANSWERED, CALLED, INTERRUPTED, RemoteTask
from workers.agents.external.talk import Talk, Terms
from workers.agents.external.wire import Wire
from workers.agents.result import AgentResult, Reporter
from workers.agents.stopping import is_for_good
from workers.backend import Backend
from workers.backoff import Backoff
from workers.contract import AgentRow, ClaimedTask
from workers.door import Door
from workers.errors import TaskFailure
from workers.secrets import Secrets

MAX_RESPONSE_BYTES = 20_000_000
# Failures after which a remote task is of no use any more though it may still run.
_USELESS = frozenset({"remote_task_lost", "response_too_large"})
# Failures that may come from a card that is out of date.
_ASTRAY = frozenset({"endpoint_error", "endpoint_unreachable", "endpoint_response_invalid", "protocol_unsupported"})


def _poll_waits() -> Backoff:
    return Backoff(first=0.5, cap=10.0)


class ExternalAgents:
    """Runs agents of type `external`."""

    def __init__(
        self, door: Door, secrets: Secrets, database: Backend, *, poll_waits: Callable[[], Backoff] = _poll_waits
    ) -> None:
        self._door = door
        self._secrets = secrets
        self._links = Links(database)
        self._cards = Cards(door)
        self._poll_waits = poll_waits

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter, /) -> AgentResult:
        """Run one attempt.

        Raises:
            InputNeeded: the remote task waits for input or an authorization.
            TaskFailure: the attempt failed; what the remote agent said about it is quoted, without secrets.
        """
        remote = await read_remote(agent.endpoint, claimed, self._secrets)
        organization = claimed.task.organization_slug
        try:
            card = await self._cards.get(organization, remote, claimed.allowed_hosts)
            check_skill(card, remote)
            interface = choose_interface(card, remote)
            terms = self._terms(remote, card, interface)
            async with self._door.client(
                claimed.allowed_hosts,
                timeout=remote.endpoint.timeout,
                max_bytes=MAX_RESPONSE_BYTES,
                organization=organization,
            ) as http:
                http.headers.update(remote.endpoint.headers)
                http.event_hooks = {"response": [bound_values]}
                client = _client(interface, http, streaming=card.streaming)
                wire = Wire(client, ids_in_path=interface.binding == "HTTP+JSON")
                with questions_recorded(claimed):
                    return await self._talk(claimed, agent, reporter, wire, terms)
        except TaskFailure as failure:
            if failure.code in _ASTRAY:
                self._cards.drop(organization, remote)
            failure.message = self._secrets.redact(failure.message, organization)
            raise

    async def _talk(
        self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter, wire: Wire, terms: Terms
    ) -> AgentResult:
        organization = claimed.task.organization_slug
        redact = functools.partial(self._secrets.redact, organization=organization)
        task = RemoteTask(reporter, redact)
        link = await self._links.begin(claimed, terms.server)
        talk = Talk(claimed, wire, self._links, task, terms)
        reporter.progress(CALLED, "Agent called")
        try:
            try:
                await talk.run(link)
            except asyncio.CancelledError as stopped:
                if is_for_good(stopped, claimed):
                    await talk.cancel()
                raise
            failure = failure_of(task, redact)
            if failure is not None:
                raise failure
            if task.message is None and task.state in INTERRUPTED:
                raise question_of(task, talk.last_message_id, agent, redact)
            reporter.progress(ANSWERED, "Agent answered")
            return result_of(task, agent, {"binding": terms.binding, "version": terms.version})
        except TaskFailure as failure:
            if failure.code == "response_too_large" and not task.settled:
                await talk.cancel()
            if task.settled or failure.code in _USELESS:  # The next attempt begins anew.
                await self._links.forget(claimed)
            raise

    def _terms(self, remote: Remote, card: Card, interface: Interface) -> Terms:
        return Terms(
            server=remote.server,
            binding=interface.binding,
            version=interface.version,
            streaming=card.streaming,
            skill=remote.skill,
            takes_json=not card.input_modes or "application/json" in card.input_modes,
            poll=self._poll_waits,
        )


def _client(interface: Interface, http: httpx.AsyncClient, *, streaming: bool) -> Client:
    """Return the SDK's client for exactly this interface; it asks not to be kept waiting where it cannot stream."""
    config = ClientConfig(
        streaming=streaming, polling=not streaming, httpx_client=http, supported_protocol_bindings=[interface.binding]
    )
    card = AgentCard(
        supported_interfaces=[
            AgentInterface(
                url=interface.url,
                protocol_binding=interface.binding,
                protocol_version=interface.version,
                tenant=interface.tenant,
            )
        ],
        capabilities=AgentCapabilities(streaming=streaming),
    )
    return ClientFactory(config).create(card)
