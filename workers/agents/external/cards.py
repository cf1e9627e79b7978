"""Agent cards: fetched through the door, checked, reduced to what a client needs, and kept for some minutes.

A card is written by somebody else. Nothing in it is believed but what is checked here, and its addresses are reached
through the same door as every other.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import httpx
from a2a.client.card_resolver import parse_agent_card
from a2a.types import AgentCard, AgentInterface
from google.protobuf.json_format import ParseError

from workers.agents.external.bounded import bound_values
from workers.agents.external.config import Binding, Remote, Version
from workers.agents.external.wire import translate
from workers.door import Door
from workers.errors import TaskFailure

MAX_CARD_BYTES = 1_000_000
_FRESH_SECONDS = 300.0
_MAX_CARDS = 256
_MAX_BYTES = 16_000_000
_MAX_INTERFACES = 50
_BINDINGS: tuple[Binding, ...] = ("JSONRPC", "HTTP+JSON")


@dataclass(frozen=True, slots=True)
class Interface:
    """One way to reach an agent that this worker can go."""

    url: str
    binding: Binding
    version: Version
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What is used of an agent card. `offered` names all its interfaces, for people; `size` is in bytes."""

    interfaces: tuple[Interface, ...]
    offered: tuple[str, ...]
    streaming: bool
    skills: frozenset[str]
    input_modes: frozenset[str]
    etag: str | None = None
    size: int = 0
    fetched_at: float = 0.0


class Cards:
    """The cards of all agents that this worker has called lately, bounded in number and size."""

    def __init__(self, door: Door, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._door = door
        self._clock = clock
        self._cards: OrderedDict[str, Card] = OrderedDict()

    async def get(self, organization: str, remote: Remote, allowed_hosts: tuple[str, ...] | None) -> Card:
        """Return the agent's card; one that is older than five minutes is asked for again, by its ETag if it has one.

        Raises:
            TaskFailure: the card cannot be had or used.
        """
        key = _key(organization, remote)
        known = self._cards.get(key)
        now = self._clock()
        if known is not None and now - known.fetched_at < _FRESH_SECONDS:
            self._cards.move_to_end(key)
            return known
        async with self._door.client(
            allowed_hosts, timeout=remote.endpoint.timeout, max_bytes=MAX_CARD_BYTES, organization=organization
        ) as http:
            http.event_hooks = {"response": [bound_values]}
            card = await _fetch(http, remote, known)
        self._keep(key, replace(card, fetched_at=now))
        return card

    def drop(self, organization: str, remote: Remote) -> None:
        """Forget a card that may have led astray."""
        self._cards.pop(_key(organization, remote), None)

    def _keep(self, key: str, card: Card) -> None:
        self._cards[key] = card
        self._cards.move_to_end(key)
        while len(self._cards) > _MAX_CARDS or sum(kept.size for kept in self._cards.values()) > _MAX_BYTES:
            self._cards.popitem(last=False)


def choose_interface(card: Card, remote: Remote) -> Interface:
    """Return the first interface that endpoint and worker can use, 1.0 before 0.3.

    Raises:
        TaskFailure: protocol_unsupported, agent_misconfigured.
    """
    usable = [
        interface
        for interface in card.interfaces
        if remote.binding in {None, interface.binding} and remote.version in {None, interface.version}
    ]
    if not usable:
        raise TaskFailure(
            "protocol_unsupported",
            "The agent's card offers no interface that this agent's endpoint and worker can use: A2A 1.0 or 0.3 over "
            "JSONRPC or HTTP+JSON.",
            data={"offered": list(card.offered)},
        )
    chosen = min(usable, key=lambda interface: interface.version != "1.0")
    if remote.endpoint.headers and not remote.may_have_credentials(httpx.URL(chosen.url)):
        raise TaskFailure(
            "agent_misconfigured",
            "The agent's card leads to another host than endpoint.url, or from https to http; the endpoint's headers "
            "and credentials are not sent there. If that is right, name the host in endpoint.hosts.",
            data={"field": "endpoint.hosts", "host": httpx.URL(chosen.url).host[:253]},
        )
    return chosen


def check_skill(card: Card, remote: Remote) -> None:
    """Raise agent_misconfigured when the endpoint names a skill that the card lacks."""
    if remote.skill is not None and remote.skill not in card.skills:
        listed = ", ".join(sorted(card.skills)[:20])[:1000]
        raise TaskFailure(
            "agent_misconfigured",
            f"The agent's endpoint.skill is not among the skills of its card: {listed or 'it has none'}.",
            data={"field": "endpoint.skill"},
        )


def _key(organization: str, remote: Remote) -> str:
    # What a server shows may depend on who asks.
    seen = json.dumps([organization, remote.card_urls, sorted(remote.endpoint.headers.items())])
    return hashlib.sha256(seen.encode()).hexdigest()


async def _fetch(http: httpx.AsyncClient, remote: Remote, known: Card | None) -> Card:
    headers = {**remote.endpoint.headers, "Accept": "application/json"}
    if known is not None and known.etag is not None:
        headers["If-None-Match"] = known.etag
    *others, last = remote.card_urls
    try:
        for url in (*others, last):
            response = await http.get(url, headers=headers)
            if response.status_code == httpx.codes.NOT_MODIFIED and known is not None:
                return known
            if response.status_code != httpx.codes.NOT_FOUND or url == last:
                break
        response.raise_for_status()
        return read_card(response.content, response.headers.get("etag"))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise translate(error, repeatable=True, what="The agent's card") from None


def read_card(body: bytes, etag: str | None = None) -> Card:
    """Check a card of A2A 1.0 or 0.3 and return what is used of it.

    Raises:
        TaskFailure: endpoint_response_invalid.
    """
    try:
        card = parse_agent_card(json.loads(body))
    except (ParseError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise TaskFailure(
            "endpoint_response_invalid", "The agent's card is not a card of A2A 1.0 or 0.3: check endpoint.url."
        ) from None
    interfaces = card.supported_interfaces[:_MAX_INTERFACES]
    return Card(
        interfaces=tuple(_interfaces(interfaces)),
        offered=tuple(f"{i.protocol_binding[:40]} {i.protocol_version[:20]}".strip() for i in interfaces[:10]),
        streaming=card.capabilities.streaming,
        skills=frozenset(skill.id for skill in card.skills),
        input_modes=frozenset(_modes(card)),
        etag=etag if etag is not None and len(etag) <= 1000 else None,
        size=len(body),
    )


def _interfaces(listed: list[AgentInterface]) -> Iterator[Interface]:
    for interface in listed:
        binding = next((name for name in _BINDINGS if name == interface.protocol_binding), None)
        version = _version(interface.protocol_version)
        if binding is not None and version is not None and _is_web_address(interface.url):
            yield Interface(interface.url, binding, version, interface.tenant)


def _version(text: str) -> Version | None:
    """Return the version this worker speaks to such a server; an interface of 1.0 need not say it."""
    major, _, rest = text.partition(".")
    if major == "1" or not text:
        return "1.0"
    return "0.3" if major == "0" and rest.partition(".")[0] == "3" else None


def _is_web_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not url.userinfo


def _modes(card: AgentCard) -> Iterator[str]:
    yield from card.default_input_modes[:100]
    for skill in card.skills[:100]:
        yield from skill.input_modes[:100]
