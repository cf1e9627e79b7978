"""A scene in which any two writers of the queue meet: one organization with work in every state, and who acts on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, item

RESULT = {"title": "T", "type": "text", "format": "text", "content": "c"}
USAGE = [{"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": 0.5}]


@dataclass(frozen=True)
class Scene:
    """Two workers hold tasks of the same two conversations and deliverables; others wait, are paused, have failed."""

    tenant: Tenant
    member: Session
    agent: str
    workers: list[Worker]
    conversations: list[str]
    deliverables: list[str]
    leases: list[list[Row]]  # of each worker, one in each conversation
    paused: str
    question: str
    failed: str
    waiting: str

    @property
    def slug(self) -> str:
        return self.tenant.slug

    @property
    def held(self) -> str:
        """The first worker's first task, which most writers want."""
        return str(self.leases[0][0]["task"]["id"])


def add_tasks(tenant: Tenant, member: Session, agent: str, conversations: list[str | None]) -> list[str]:
    """Insert a task for each of these conversations, in one statement; return their ids in order."""
    rows = member.rows(
        "insert into public.tasks (organization_slug, agent_slug, method, prompt, agent_conversation_id)"
        " select %s, %s, 'process', 'Write.', c.id"
        " from unnest(%s::uuid[]) with ordinality c (id, place) order by c.place returning id::text",
        tenant.slug,
        agent,
        conversations,
    )
    return [row["id"] for row in rows]


def build(world: World) -> Scene:
    tenant = world.tenant(max_concurrent_tasks=100)
    member = tenant.join("developer")
    agent = tenant.add_agent(max_concurrent_tasks=50)
    workers = [world.worker() for _ in range(3)]
    conversations = [tenant.conversation(member) for _ in range(2)]
    deliverables = [
        str(
            world.service.insert(
                "deliverables",
                organization_slug=tenant.slug,
                user_id=member.id,
                conversation_id=conversation,
                title="T",
                type="text",
            )["id"]
        )
        for conversation in conversations
    ]

    # Claimed two at a time, in the order of their insertion; the last one waits.
    paused, failed, *running, waiting = add_tasks(tenant, member, agent, [None, None, *conversations * 2, None])
    leases = {lease["task"]["id"]: lease for lease in workers[0].claim(tenant, 2, lease_seconds=3000)}
    question = {"prompt": "Go on?", "expires_in_seconds": 600}
    assert workers[0].report("pause_task", item(leases[paused], input_request=question)) == ["ok"]
    assert workers[0].fail(leases[failed]) == "ok"
    held: list[list[Row]] = []
    for worker, tasks in zip(workers[:2], (running[:2], running[2:]), strict=True):
        mine = {lease["task"]["id"]: lease for lease in worker.claim(tenant, 2, lease_seconds=3000)}
        held.append([mine[task_id] for task_id in tasks])
    question_id = world.admin.value("select id::text from public.input_requests where task_id = %s", paused)
    return Scene(
        tenant, member, agent, workers, conversations, deliverables, held, paused, question_id, failed, waiting
    )


def completion(scene: Scene, worker: int, order: list[int]) -> Row:
    """A report that completes both tasks of a worker, after saying that it lives and works."""
    leases = [scene.leases[worker][n] for n in order]
    items = [
        item(
            scene.leases[worker][n],
            response="done.",
            deliverable=RESULT | {"deliverable_id": scene.deliverables[n]},
            messages=[{"content": "done."}],
            usage=USAGE,
        )
        for n in order
    ]
    events = [item(lease, type="log", message="m") for lease in leases]
    return {"events": events, "heartbeats": [item(lease) for lease in leases], "completed": items}


def exchange(scene: Scene, worker: int, session: Session, report: Row, max_tasks: int = 0) -> None:
    answer = scene.workers[worker].on(session).exchange(report=report, max_tasks=max_tasks, organizations=[scene.slug])
    # The results were good; only a deliverable that is gone may make one invalid.
    refused = [o for o in answer["outcomes"] if o["outcome"] == "invalid"]
    assert all("deliverable" in o["detail"] for o in refused), refused


def beat(scene: Scene, session: Session, order: list[int]) -> None:
    scene.workers[0].on(session).report("heartbeat_tasks", *(item(scene.leases[0][n], progress=9) for n in order))


def reap(scene: Scene, session: Session) -> None:
    """Run the reaper an hour later: leases have run out, and the question has expired."""
    scene.tenant.world.admin.execute("update private.maintenance set last_run_at = '-infinity'")
    exchange(scene, 2, session.at("1 hour"), {})


def insert(scene: Scene, session: Session) -> None:
    for conversation in scene.conversations:
        scene.tenant.task(session, agent_slug=scene.agent, agent_conversation_id=conversation)


def enqueue(scene: Scene, session: Session, keys: list[str]) -> None:
    task = {"organization_slug": scene.slug, "agent_slug": scene.agent, "method": "process", "prompt": "Write."}
    tasks = [task | {"idempotency_key": key} for key in keys]
    session.rows("select public.enqueue_tasks(%s)", Jsonb(tasks))


def ask(scene: Scene, session: Session) -> None:
    question = {"prompt": "Go on?"}
    scene.workers[0].on(session).report("pause_task", *(item(le, input_request=question) for le in scene.leases[0]))


def fail(scene: Scene, session: Session) -> None:
    reason = {"error_code": "e", "error_message": "m", "retryable": True, "usage": USAGE}
    exchange(scene, 0, session, {"failed": [item(lease, **reason) for lease in reversed(scene.leases[0])]}, 2)


# Who acts ("owner", "member", "service_role", "none" for the schema's owner), and what they do.
ACTS: dict[str, tuple[str, Callable[[Scene, Session], object]]] = {
    "complete": ("service", lambda s, x: exchange(s, 0, x, completion(s, 0, [0, 1]), 5)),
    "complete other way": ("service", lambda s, x: exchange(s, 1, x, completion(s, 1, [1, 0]), 5)),
    "beat": ("service", lambda s, x: beat(s, x, [0, 1])),
    "beat other way": ("service", lambda s, x: beat(s, x, [1, 0])),
    "fail": ("service", fail),
    "ask": ("service", ask),
    "claim": ("service", lambda s, x: exchange(s, 2, x, {}, 5)),
    "reap": ("service", reap),
    "cancel": ("owner", lambda s, x: x.call("cancel_task", task_id=s.held)),
    "cancel paused": ("owner", lambda s, x: x.call("cancel_task", task_id=s.paused)),
    "cancel all": ("owner", lambda s, x: x.call("cancel_tasks", organization_slug=s.slug, agent_slug=s.agent)),
    "retry": ("owner", lambda s, x: x.call("retry_task", task_id=s.failed)),
    "redrive": ("owner", lambda s, x: x.call("redrive_tasks", organization_slug=s.slug)),
    "respond": (
        "member",
        lambda s, x: x.call("respond_to_input_request", input_request_id=s.question, response=Jsonb("yes")),
    ),
    "insert": ("member", insert),
    "enqueue": ("member", lambda s, x: enqueue(s, x, ["a", "b", "c"])),
    "enqueue other way": ("owner", lambda s, x: enqueue(s, x, ["c", "b", "a"])),
    "edit": (
        "member",
        lambda s, x: x.call("create_deliverable_version", deliverable_id=s.deliverables[0], content="mine"),
    ),
    "promote": (
        "owner",
        lambda s, x: x.call("set_member_role", organization_slug=s.slug, user_id=s.member.id, role="member"),
    ),
    "remove member": ("owner", lambda s, x: x.call("remove_member", organization_slug=s.slug, user_id=s.member.id)),
    "set limits": (
        "owner",
        lambda s, x: x.call("set_organization_limits", organization_slug=s.slug, limits={"max_concurrent_tasks": 50}),
    ),
    "delete conversations": (
        "member",
        lambda s, x: x.execute("delete from public.agent_conversations where id = any (%s::uuid[])", s.conversations),
    ),
    "delete deliverables": (
        "member",
        lambda s, x: [x.execute("delete from public.deliverables where id = %s", d) for d in s.deliverables],
    ),
    "delete tasks": (
        "service",
        lambda s, x: x.execute("delete from public.tasks where organization_slug = %s", s.slug),
    ),
    "delete agent": ("owner", lambda s, x: x.execute("delete from public.agents where slug = %s", s.agent)),
    "delete user": ("none", lambda s, x: x.execute("delete from auth.users where id = %s", s.member.id)),
    "delete organization": (
        "owner",
        lambda s, x: x.execute("delete from public.organizations where slug = %s", s.slug),
    ),
}


def actor(scene: Scene, name: str) -> Session:
    who = ACTS[name][0]
    world = scene.tenant.world
    return {"service": world.service, "none": world.admin, "owner": scene.tenant.owner, "member": scene.member}[who]


# The rows that two writers may meet at: each is held by a third party until both wait or are done.
GATES: dict[str, Callable[[Scene], tuple[str, str]]] = {
    "task": lambda s: ("select from public.tasks where id = %s for update", s.held),
    "second task": lambda s: ("select from public.tasks where id = %s for update", s.leases[0][1]["task"]["id"]),
    "paused": lambda s: ("select from public.tasks where id = %s for update", s.paused),
    "failed": lambda s: ("select from public.tasks where id = %s for update", s.failed),
    "waiting": lambda s: ("select from public.tasks where id = %s for update", s.waiting),
    "conversation": lambda s: ("select from public.agent_conversations where id = %s for update", s.conversations[1]),
    "deliverable": lambda s: ("select from public.deliverables where id = %s for update", s.deliverables[1]),
    "organization": lambda s: ("select from public.organizations where slug = %s for update", s.slug),
    "agent": lambda s: ("select from public.agents where slug = %s for update", s.agent),
    "user": lambda s: ("select from public.users where id = %s for update", s.member.id),
}
