"""What every request to an agent passes: who calls, whether the agent exists for that user, how large it is."""

from __future__ import annotations

import asyncio
import json
import re
import time
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from workers.a2a.caller import Caller, Identity, TokenError, read_identity
from workers.a2a.database import Database
from workers.errors import BackendError, BackendRefused, BackendUnavailable

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{1,62}")
_AGENT = re.compile(r"(/a2a/([^/]+)/([^/]+))(/.*)?")
_MAX_VALUES = 100_000  # The SDK takes 4 µs for each, on our event loop; by commas, those in texts too.
_CLIENT_SECONDS = 30.0  # How long a client may take to send a request, or to take a piece of the answer.


class Gate:
    """Lets a request through to the agent's routes with `caller` in its state; says no in HTTP's own words."""

    def __init__(self, app: ASGIApp, database: Database, max_body_bytes: int, log: FilteringBoundLogger) -> None:
        self._app = app
        self._database = database
        self._most = max_body_bytes
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below /a2a."""
        began = time.monotonic()
        seen: dict[str, Any] = {"method": scope["method"], "status": 0}

        async def patient_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            async with asyncio.timeout(_CLIENT_SECONDS):
                await send(message)

        try:
            await self._answer(scope, receive, patient_send, seen)
        except (TimeoutError, ClientDisconnect):
            seen["outcome"] = "client_gone"
        finally:
            self._log.info("request", **seen, seconds=round(time.monotonic() - began, 3))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, seen: dict[str, Any]) -> None:
        request = Request(scope, receive)
        match = _AGENT.fullmatch(scope["path"])
        body = b""
        try:
            identity = read_identity(request.headers.get("authorization"))
            caller = await self._admit(identity, match[2], match[3]) if match else None
            if match is None or caller is None:
                raise _Refused(_refusal(HTTPStatus.NOT_FOUND, "You have no such agent."))
            seen |= {"organization": caller.organization, "agent": caller.agent, "user_id": caller.user_id}
            if scope["method"] == "POST":
                body = await self._body(request, match[4] or "/")
        except (TokenError, BackendRefused) as error:
            return await _unauthorized(error)(scope, receive, send)
        except BackendError as error:
            return await _unavailable(error)(scope, receive, send)
        except _Refused as refused:
            return await refused.answer(scope, receive, send)
        inner = {
            **scope,
            "path": scope["path"] if match[4] else scope["path"] + "/",
            "root_path": scope.get("root_path", "") + match[1],
            "state": {**scope.get("state", {}), "caller": caller},
        }
        return await self._app(inner, _replayed(body, receive), send)

    async def _admit(self, identity: Identity, organization: str, agent: str) -> Caller | None:
        """Return the caller, None when the organization has no such agent for this user. Asked anew each time."""
        if not (_SLUG.fullmatch(organization) and _SLUG.fullmatch(agent)):
            return None
        shared = {"select": "slug", "slug": f"eq.{agent}"}
        shared["or"] = f"(organization_slug.cs.{{{organization}}},owner_user_id.eq.{identity.user_id})"
        agents, organizations = await asyncio.gather(
            self._database.rows(identity, "agents", shared),
            self._database.rows(identity, "organizations", {"select": "slug", "slug": f"eq.{organization}"}),
        )
        return Caller(identity, organization, agent) if agents and organizations else None

    async def _body(self, request: Request, path: str) -> bytes:
        """Return the body, which is JSON or, where a path says all, nothing."""
        parts, size = [], 0
        length = request.headers.get("content-length", "0")
        too_large = _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request has at most {self._most} bytes.")
        if not length.isdecimal() or int(length) > self._most:
            raise _Refused(too_large)
        try:
            async with asyncio.timeout(_CLIENT_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size > self._most:
                        raise _Refused(too_large)
                    parts.append(part)
        except TimeoutError:
            text = f"The request did not arrive within {_CLIENT_SECONDS:g} seconds."
            raise _Refused(_refusal(HTTPStatus.REQUEST_TIMEOUT, text)) from None
        body = b"".join(parts)
        if body.count(b",") > _MAX_VALUES:
            text = f"A request has at most {_MAX_VALUES} values, counted by its commas."
            raise _Refused(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text))
        if (body or path == "/") and (problem := _problem(body)):
            raise _Refused(_unreadable(problem, path))
        return body


class _Refused(Exception):  # noqa: N818 - not an error of ours
    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def _problem(body: bytes) -> str | None:
    """Return why a body is no JSON that can be read, None when it is."""
    try:
        json.loads(body)
    except RecursionError:
        return "The JSON is nested too deeply."
    except ValueError:  # UnicodeDecodeError too.
        return "The request is not JSON in UTF-8."
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _refusal(status: HTTPStatus, message: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status_name = status.phrase.upper().replace(" ", "_")
    error = {"code": int(status), "status": status_name, "message": message}
    return JSONResponse({"error": error}, status_code=int(status), headers=named)


def _unauthorized(error: Exception) -> Response:
    expected = 'Bearer realm="a2a"'
    if isinstance(error, BackendRefused):
        text = "The access token is not accepted: it has expired, or it is not of this project. Get a new one."
        return _refusal(HTTPStatus.UNAUTHORIZED, text, WWW_Authenticate=f'{expected}, error="invalid_token"')
    return _refusal(HTTPStatus.UNAUTHORIZED, str(error), WWW_Authenticate=expected)


def _unavailable(error: BackendError) -> Response:
    if isinstance(error, BackendUnavailable):
        text = "The database does not answer; send the same request again."
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, Retry_After="5")
    return _refusal(HTTPStatus.FORBIDDEN, "The database refused the request.")


def _unreadable(problem: str, path: str) -> Response:
    if path == "/":
        return JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": problem}})
    return _refusal(HTTPStatus.BAD_REQUEST, problem)
