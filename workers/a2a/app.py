"""The A2A server as an ASGI application: one address per agent, all A2A bindings at it."""

from __future__ import annotations

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.types import AgentCard
from google.protobuf.json_format import ParseDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from workers.a2a.caller import Caller
from workers.a2a.database import Database, Refusal
from workers.a2a.follow import Followers
from workers.a2a.gate import Gate
from workers.a2a.handler import AgentHandler
from workers.a2a.inbox import Inbox
from workers.a2a.settings import A2ASettings
from workers.errors import BackendError, BackendRejected

_INTERFACES = (("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3"))


class CallerContextBuilder(DefaultServerCallContextBuilder):
    """Hands the caller, whom the gate found, to the handler."""

    def build(self, request: Request) -> ServerCallContext:
        """Return the context of a call."""
        context = super().build(request)
        context.state["caller"] = request.state.caller
        return context


def build_app(settings: A2ASettings, database: Database, followers: Followers, log: FilteringBoundLogger) -> Starlette:
    """Return the application; `database` and `followers` are the caller's to close."""
    handler = AgentHandler(Inbox(database), followers, settings, log)
    builder = CallerContextBuilder()
    rpc = JsonRpcDispatcher(handler, builder, enable_v0_3_compat=True)
    rest = create_rest_routes(handler, builder, enable_v0_3_compat=True)
    agent = Router(
        [
            Route("/", rpc.handle_requests, methods=["POST"]),
            Route("/.well-known/agent-card.json", _Card(settings, database), methods=["GET"]),
            # Where clients of 0.2 look.
            Route("/.well-known/agent.json", _Card(settings, database), methods=["GET"]),
            # Without the SDK's addresses by tenant: organizations are tenants here and stand in the address already.
            *(route for route in rest if isinstance(route, Route)),
        ],
        redirect_slashes=False,
    )

    async def healthz(_request: Request) -> Response:
        up = await database.is_up()
        return JSONResponse({"database": up}, status_code=200 if up else 503)

    gate = Gate(agent, database, settings.max_body_bytes, log)

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        # A Mount has moved its own path into root_path; the gate reads all of it.
        await gate({**scope, "root_path": scope["app_root_path"]}, receive, send)

    return Starlette(routes=[Route("/healthz", healthz), Mount("/a2a", gated)])


class _Card:
    """Serves the card of an agent to those who may read the agent.

    Nobody else: an organization's agents and what they can do are its own business, and the answer to those who show
    no token is the same whether there is such an agent or not.
    """

    def __init__(self, settings: A2ASettings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a card."""
        request = Request(scope, receive)
        caller = request.state.caller
        assert isinstance(caller, Caller)
        try:
            card = await self._database.call(caller.identity, "agent_card", {"slug": caller.agent})
        except BackendError as error:
            status = error.status if isinstance(error, Refusal) else 503
            text = error.token if isinstance(error, BackendRejected) else "database_unavailable"
            answer = JSONResponse({"error": {"code": status, "message": text}}, status_code=status)
            return await answer(scope, receive, send)
        base = self._settings.public_url or f"{request.url.scheme}://{request.url.netloc}"
        url = f"{base}/a2a/{caller.organization}/{caller.agent}"
        card["supportedInterfaces"] = [
            {"url": url, "protocolBinding": binding, "protocolVersion": version} for binding, version in _INTERFACES
        ]
        told = agent_card_to_dict(ParseDict(card, AgentCard(), ignore_unknown_fields=True))
        headers = {"Cache-Control": "private, max-age=60", "Vary": "Authorization"}
        return await JSONResponse(told, headers=headers)(scope, receive, send)
