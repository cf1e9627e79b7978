"""The `mcpServers` of front matter, in each of its forms, as `llm_config.tools.mcp_servers` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_CREDENTIAL = re.compile(
    r"(^|[-_])(authorization|auth|cookie|token|secret|password|key|apikey|credentials?|signature)($|[-_])",
    re.IGNORECASE,
)
# As private.literal_credential has it for endpoints.
_IN_URL = re.compile(
    r"^[a-z]+://([^/?#]*)@|[?&](?:[^=&#]*[-_])?(?:token|secret|password|key|apikey|sig|signature)=([^&#]+)",
    re.IGNORECASE,
)
_FIELDS = ("url", "tools", "headers", "timeout")


class FileProblem(Exception):  # noqa: N818 - it is an entry of last_sync_errors
    """A file that cannot be an agent: why, as a code and a sentence that begins with Its or It."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def mcp_servers(given: Any) -> list[dict[str, Any]]:
    """Return the servers of a list of names or a map from names to tools, or to {url, tools, headers, timeout}.

    A name without a url stands for the organization's secret MCP_<NAME>_URL.

    Raises:
        FileProblem: mcp_server_invalid, credential_is_literal.
    """
    if given is None:
        return []
    return [_server(name, value) for name, value in _entries(given)]


def _entries(given: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(given, dict):
        yield from given.items()
    elif isinstance(given, list):
        for entry in given:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                yield entry["name"], {key: value for key, value in entry.items() if key != "name"}
            elif isinstance(entry, str):
                yield entry, None
            else:
                raise _invalid("lists names, or objects with a name")
    else:
        raise _invalid("is a list or a map")


def _server(name: str, value: Any) -> dict[str, Any]:
    settings: Mapping[str, Any] = value if isinstance(value, dict) else {"tools": value}
    if "command" in settings:
        raise _invalid(f"starts {name[:100]!r} as a command, and commands are never run: give its url")
    if unknown := sorted(str(key)[:100] for key in settings if key not in _FIELDS):
        raise _invalid(f"sets {unknown[0]!r} of {name[:100]!r}, which nothing reads")
    is_url = name.startswith(("https://", "http://"))
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", name.partition("://")[2] if is_url else name).strip("-")[:32]
    if not short:
        raise _invalid(f"has the name {name[:100]!r}")
    plain = re.sub(r"[^A-Z0-9]+", "_", short.upper())
    server: dict[str, Any] = {
        "name": short,
        "url": _url(name, settings.get("url", name if is_url else f"${{MCP_{plain}_URL}}")),
    }
    if (tools := _tools(name, settings.get("tools"))) is not None:
        server["tools"] = tools
    if settings.get("headers"):
        server["headers"] = _headers(name, settings["headers"])
    if settings.get("timeout") is not None:
        server["timeout"] = settings["timeout"]
    return server


def _tools(name: str, given: Any) -> list[str] | None:
    """Return the tools that are used; None, `*` and an empty list mean all."""
    if given in (None, "*", [], ["*"]):
        return None
    if isinstance(given, list) and all(isinstance(tool, str) for tool in given):
        return given
    raise _invalid(f"gives {name[:100]!r} something else than a list of tools")


def _headers(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise _invalid(f"gives {name[:100]!r} headers that are no texts")
    for header, value in given.items():
        if _CREDENTIAL.search(header) and "${" not in value:
            raise _literal(f"the header {header[:100]!r}")
    return given


def _url(name: str, given: Any) -> Any:
    if isinstance(given, str) and any("${" not in (one or other) for one, other in _IN_URL.findall(given)):
        raise _literal(f"the url of {_shown(name)!r}")
    return given


def _shown(name: str) -> str:
    """Return a server's name for a message; one that is an address may hold the credential itself."""
    return name.partition("://")[0][:100]


def _literal(where: str) -> FileProblem:
    return FileProblem(
        "credential_is_literal",
        f"Its mcpServers holds a credential in {where}, for all to read who see the agent: keep it among the "
        "organization's secrets and write ${NAME}.",
    )


def _invalid(problem: str) -> FileProblem:
    return FileProblem("mcp_server_invalid", f"Its mcpServers {problem}.")
