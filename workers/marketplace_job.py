"""What is wanted of a marketplace, and how what is sent follows from its configuration."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.errors import TaskFailure


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True)

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str


class _Fields(BaseModel):
    """`request` maps fields of the marketplace to ours; `id` and `usage` lead into its answers."""

    model_config = ConfigDict(frozen=True)

    request: dict[str, str] | None = None
    id: str = "id"
    usage: str | None = None


class Wanted(BaseModel):
    """What to do and where, as read_marketplace_job answers."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    action: str
    agent_slug: str
    marketplace_agent_id: str | None
    is_platform: bool
    base_url: str
    headers: dict[str, str]
    fields: _Fields
    operation: _Operation
    updates: bool
    idempotency_key: str
    listing: dict[str, Any] | None = Field(default=None, repr=False)


def request_body(wanted: Wanted) -> dict[str, Any]:
    """Return what is sent: the listing, or its fields under the marketplace's names.

    Raises:
        TaskFailure: marketplace_misconfigured.
    """
    listing = wanted.listing or {}
    if wanted.fields.request is None:
        return listing
    body: dict[str, Any] = {}
    for theirs, ours in sorted(wanted.fields.request.items()):
        value = dig(listing, ours)
        if value is None:
            continue
        *way, last = theirs.split(".")
        place = body
        for name in way:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or last in place:
            raise misconfigured(f"has two values for the field {theirs!r} in fields.request")
        place[last] = value
    return body


def dig(document: Any, path: str | None) -> Any:
    """Return what dots lead to; None when there is no such field, the document itself without a path."""
    for name in path.split(".") if path else ():
        document = document.get(name) if isinstance(document, dict) else None
    return document


def misconfigured(problem: str) -> TaskFailure:
    """Return the failure that says what is wrong with the row of `marketplaces`."""
    return TaskFailure("marketplace_misconfigured", f"The marketplace {problem}.")
