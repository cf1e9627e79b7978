"""Versions of deliverables: numbered, unchangeable, one in force, and only their people's to edit."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, in_parallel, refused

CONTENT = {"title": "T", "type": "document", "format": "markdown", "content": "one"}


def make(tenant: Tenant, user: Session | None = None) -> str:
    """Let a worker make a deliverable for this user and return its id."""
    worker = tenant.world.worker()
    task_id = tenant.task(user)
    assert worker.complete(worker.claim_one(tenant), deliverable=CONTENT) == "ok"
    return str(tenant.read(task_id)["response_metadata"]["deliverable"]["id"])


def edit(session: Session, deliverable_id: str, content: str, **more: Any) -> Row:
    row: Row = session.call("create_deliverable_version", deliverable_id=deliverable_id, content=content, **more)
    return row


def versions(tenant: Tenant, deliverable_id: str) -> list[tuple[int, str, bool]]:
    rows = tenant.world.admin.rows(
        "select version_number, content, is_current_version from public.deliverable_versions"
        " where deliverable_id = %s order by version_number",
        deliverable_id,
    )
    return [(r["version_number"], r["content"], r["is_current_version"]) for r in rows]


def test_an_edit_is_the_next_version_and_in_force(tenant: Tenant) -> None:
    deliverable_id = make(tenant)
    first = tenant.owner.row("select * from public.deliverable_versions where deliverable_id = %s", deliverable_id)
    version = edit(tenant.owner, deliverable_id, "two", metadata={"why": "typo"}, file_attachments={"a": 1})
    assert (
        version
        | {
            "version_number": 2,
            "content": "two",
            "format": "markdown",
            "is_current_version": True,
            "created_by_type": "manual_edit",
            "file_attachments": {"a": 1},
            "metadata": {"why": "typo", "editedBy": tenant.owner.id, "editedFromVersionId": str(first["id"])},
        }
        == version
    )
    assert versions(tenant, deliverable_id) == [(1, "one", False), (2, "two", True)]


def test_thirty_edits_at_once_get_numbers_of_their_own(tenant: Tenant) -> None:
    deliverable_id = make(tenant)

    def three(session: Session) -> list[int]:
        return [edit(session, deliverable_id, "more")["version_number"] for _ in range(3)]

    numbers = [n for result in in_parallel([tenant.owner] * 10, three) for n in result]
    assert sorted(numbers) == list(range(2, 32))
    rows = versions(tenant, deliverable_id)
    assert [number for number, _, _ in rows] == list(range(1, 32))
    assert [number for number, _, current in rows if current] == [31]


def test_rolling_back_moves_what_is_in_force_and_loses_nothing(tenant: Tenant) -> None:
    deliverable_id = make(tenant)
    edit(tenant.owner, deliverable_id, "two")
    for _ in range(2):
        version = tenant.owner.call("set_current_deliverable_version", deliverable_id=deliverable_id, version_number=1)
        assert (version["version_number"], version["is_current_version"]) == (1, True)
    assert versions(tenant, deliverable_id) == [(1, "one", True), (2, "two", False)]
    assert edit(tenant.owner, deliverable_id, "three")["version_number"] == 3
    assert versions(tenant, deliverable_id) == [(1, "one", False), (2, "two", False), (3, "three", True)]


def test_rollbacks_and_edits_at_once_leave_one_in_force(tenant: Tenant) -> None:
    deliverable_id = make(tenant)

    def act(session: Session) -> None:
        edit(session, deliverable_id, "more")
        session.call("set_current_deliverable_version", deliverable_id=deliverable_id, version_number=1)

    assert in_parallel([tenant.owner] * 6, act) == [None] * 6
    rows = versions(tenant, deliverable_id)
    assert len(rows) == 7
    assert [number for number, _, current in rows if current] == [1]


def test_an_unknown_version_or_deliverable_is_not_found(tenant: Tenant) -> None:
    with refused("PT404", "version_not_found"):
        tenant.owner.call("set_current_deliverable_version", deliverable_id=make(tenant), version_number=2)
    with refused("PT404", "deliverable_not_found"):
        tenant.owner.call("set_current_deliverable_version", deliverable_id=uuid.uuid4(), version_number=1)
    with refused("PT404", "deliverable_not_found"):
        edit(tenant.owner, str(uuid.uuid4()), "x")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("content", "changed"),
        ("format", "html"),
        ("version_number", 9),
        ("metadata", {"changed": True}),
        ("file_attachments", {"changed": True}),
        ("created_by_type", "manual_edit"),
        ("created_at", "2030-01-01"),
        ("deliverable_id", uuid.uuid4()),
        ("id", uuid.uuid4()),
    ],
)
def test_a_version_never_changes_for_any_writer(tenant: Tenant, column: str, value: Any) -> None:
    key = {"deliverable_id": make(tenant)}
    for session in (tenant.world.service, tenant.world.admin):
        with refused("PT409", "version_is_immutable"):
            session.update("deliverable_versions", key, **{column: value})
    with refused("42501"):
        tenant.owner.update("deliverable_versions", key, **{column: value})


def test_two_versions_are_never_in_force(tenant: Tenant) -> None:
    deliverable_id = make(tenant)
    with pytest.raises(psycopg.errors.UniqueViolation):
        tenant.world.service.insert(
            "deliverable_versions", deliverable_id=deliverable_id, version_number=2, is_current_version=True
        )


@pytest.mark.parametrize(
    ("role", "may"),
    [("owner", True), ("admin", True), ("developer", False), ("member", False), ("viewer", False), (None, False)],
)
def test_its_user_and_admins_edit_and_nobody_else(tenant: Tenant, role: str | None, may: bool) -> None:
    maker = tenant.join("member")
    deliverable_id = make(tenant, maker)
    editor = tenant.join(role) if role else tenant.world.tenant().owner
    assert edit(maker, deliverable_id, "two")["version_number"] == 2
    if may:
        assert edit(editor, deliverable_id, "three")["metadata"]["editedBy"] == editor.id
    else:
        with refused("PT404", "deliverable_not_found"):
            edit(editor, deliverable_id, "three")
        assert editor.rows("select from public.deliverable_versions") == []


def test_a_maker_who_became_a_viewer_reads_but_no_longer_edits(tenant: Tenant) -> None:
    maker = tenant.join("member")
    deliverable_id = make(tenant, maker)
    tenant.owner.call("set_member_role", organization_slug=tenant.slug, user_id=maker.id, role="viewer")
    with refused("PT404", "deliverable_not_found"):
        edit(maker, deliverable_id, "two")
    assert len(maker.rows("select from public.deliverable_versions")) == 1


@pytest.mark.parametrize(
    "bad", [{"metadata": Jsonb([])}, {"file_attachments": Jsonb(7)}, {"format": "f" * 101}, {"content": None}], ids=str
)
def test_a_malformed_edit_is_refused(tenant: Tenant, bad: Row) -> None:
    deliverable_id = make(tenant)
    with refused("22023") as refusal:
        tenant.owner.call("create_deliverable_version", **{"deliverable_id": deliverable_id, "content": "two", **bad})
    assert refusal.message in {"value_refused", "content_missing"}
    assert tenant.slug not in refusal.detail
    assert versions(tenant, deliverable_id) == [(1, "one", True)]


# What workers add


@pytest.mark.parametrize("named_by", ["the worker", "the task"])
def test_a_task_adds_a_version_to_the_deliverable_named(tenant: Tenant, worker: Worker, named_by: str) -> None:
    deliverable_id = make(tenant)
    named = {"deliverable_id": deliverable_id}
    task_id = tenant.task(deliverable_metadata=named if named_by == "the task" else {})
    content = {**CONTENT, "content": "two"} | (named if named_by == "the worker" else {})
    assert worker.complete(worker.claim_one(tenant), deliverable=content) == "ok"
    written = tenant.read(task_id)["response_metadata"]["deliverable"]
    assert (written["id"], written["version_number"]) == (deliverable_id, 2)
    assert versions(tenant, deliverable_id) == [(1, "one", False), (2, "two", True)]


@pytest.mark.parametrize("whose", ["a colleague's", "another organization's"])
def test_somebody_elses_deliverable_gets_no_version(tenant: Tenant, worker: Worker, whose: str) -> None:
    other = tenant if whose == "a colleague's" else tenant.world.tenant()
    named = {"deliverable_id": make(other, other.join("member"))}
    with refused("PT404", "deliverable_not_found"):
        tenant.task(deliverable_metadata=named)
    task_id = tenant.task()
    assert worker.complete(worker.claim_one(tenant), deliverable=CONTENT | named) == "invalid"
    assert tenant.read(task_id)["status"] == "in_progress"
    assert versions(other, named["deliverable_id"]) == [(1, "one", True)]


@pytest.mark.parametrize("deliverable_id", ["x", "", 7, str(uuid.uuid4())])
def test_a_task_for_an_unknown_deliverable_is_refused(tenant: Tenant, deliverable_id: Any) -> None:
    with refused("PT404", "deliverable_not_found"):
        tenant.task(deliverable_metadata={"deliverable_id": deliverable_id})


def test_a_deleted_task_or_conversation_leaves_the_deliverable(tenant: Tenant) -> None:
    deliverable_id = make(tenant)
    tenant.world.service.execute("delete from public.tasks where organization_slug = %s", tenant.slug)
    assert versions(tenant, deliverable_id) == [(1, "one", True)]
    assert tenant.owner.execute("delete from public.deliverables where id = %s", deliverable_id) == 1
    assert versions(tenant, deliverable_id) == []
