"""The demo: what a frontend does, in supabase-py, beside a real worker process. Called by scripts/demo."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dotenv import dotenv_values
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from supabase import Client, create_client

from localstack import instance
from localstack.paths import DOTENV, ROOT, STATE

LOCALSTACK = (sys.executable, "-m", "localstack")
WORKER_LOG = STATE / "demo-worker.log"
AGENT = "blog-post-writer"
FINAL = {"completed", "failed", "cancelled", "timeout", "rejected"}
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 330.0  # longer than a task's own timeout_seconds

console = Console()
Row = dict[str, Any]


def say(text: str) -> None:
    """Says one thing that was done."""
    console.print(f"[bold cyan]>[/] {text}", highlight=False)


def fetch(query: Any) -> Any:
    """What PostgREST answers to a query or call built with supabase-py: rows, one row, or a function's result."""
    return query.execute().data


@contextmanager
def stack() -> Iterator[dict[str, str]]:
    """The local stack's variables. Interrupted, it stops a stack that this demo has started; otherwise that stays."""
    was_up = subprocess.run([*LOCALSTACK, "status"], capture_output=True, check=False).returncode == 0
    try:
        subprocess.run([*LOCALSTACK, "up"], check=True)
        subprocess.run([*LOCALSTACK, "migrate"], check=True, stdout=subprocess.DEVNULL)
        yield instance.require(instance.DEFAULT_NAME).environment()
    except KeyboardInterrupt:
        if not was_up:
            subprocess.run([*LOCALSTACK, "down"], check=False)
        raise


@contextmanager
def worker(env: dict[str, str]) -> Iterator[None]:
    """A worker process for demo-org; told to finish at the end, and its log kept."""
    command = [sys.executable, "-m", "workers", "run", "--organization", "demo-org"]
    if os.environ.get("ANTHROPIC_API_KEY") or dotenv_values(DOTENV).get("ANTHROPIC_API_KEY"):
        say("ANTHROPIC_API_KEY is set: the agent runs on Anthropic.")
    else:
        say("No ANTHROPIC_API_KEY: the offline model writes a draft from the prompt, marked as offline.")
        command.append("--offline")
    with WORKER_LOG.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


def sign_up(env: dict[str, str]) -> Client:
    """A new user's client: signed up through /auth/v1 and a member of demo-org by an invitation."""
    email = f"demo-{secrets.token_hex(4)}@example.com"
    user = create_client(env["SUPABASE_URL"], env["SUPABASE_ANON_KEY"])
    user.auth.sign_up({"email": email, "password": secrets.token_urlsafe(18)})
    say(f"Signed up {email} through /auth/v1.")
    operator = create_client(env["SUPABASE_URL"], env["SUPABASE_SERVICE_ROLE_KEY"])
    invitation = fetch(operator.rpc("create_invitation", {"organization_slug": "demo-org", "email": email}))
    member = fetch(user.rpc("accept_invitation", {"token": invitation["token"]}))
    say(f"Joined {member['organization_slug']} as {member['role']} by an invitation.")
    return user


def events_after(user: Client, task_id: str, sequence: int) -> list[Row]:
    """The task's events after this one, in order."""
    query = user.table("task_events").select("*").eq("task_id", task_id).gt("sequence", sequence).order("sequence")
    return list(fetch(query))


def follow(user: Client, task_id: str) -> Row:
    """Shows progress until the task has ended, by reading the events after the last one seen; returns the task."""
    seen = 0
    give_up = time.monotonic() + PATIENCE_SECONDS
    columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("pending", total=100)
        while time.monotonic() < give_up:
            for event in events_after(user, task_id, seen):
                seen = event["sequence"]
                state = event["data"].get("to")
                percent = 100 if state == "completed" else event["data"].get("progress")
                bar.update(shown, completed=percent, description=state or event["message"] or "working")
                if not console.is_terminal and event["type"] != "partial":
                    console.print(f"  {describe(event)}", highlight=False)
                if state in FINAL:
                    return dict(fetch(user.table("tasks").select("*").eq("id", task_id).single()))
            time.sleep(POLL_SECONDS)
    raise SystemExit(f"demo: task {task_id} has not ended; the worker's log is {WORKER_LOG.relative_to(ROOT)}")


def describe(event: Row) -> str:
    """One event in one line."""
    data = event["data"]
    match event["type"]:
        case "status":
            return f"{data.get('from', 'new')} -> {data['to']}" + (
                f" ({data['error_code']})" if "error_code" in data else ""
            )
        case "progress":
            return f"{data['progress']:>3}% {event['message'] or ''}".rstrip()
        case "partial":
            return f"{len(data.get('text', ''))} characters of text"
        case _:
            return event["message"] or ""


def show_deliverable(user: Client, deliverable_id: str) -> str:
    """Prints the deliverable and its version number; returns the content."""
    columns = "title,deliverable_versions(content,version_number)"
    deliverable = fetch(user.table("deliverables").select(columns).eq("id", deliverable_id).single())
    version = deliverable["deliverable_versions"][0]
    content = str(version["content"])
    console.rule(f"{deliverable['title']} - version {version['version_number']}")
    console.print(Markdown(content) if console.is_terminal else content, highlight=False, markup=False)
    console.rule()
    return content


def show_trail(user: Client, task: Row) -> None:
    """The task's events as a table, then tokens and cost."""
    table = Table(
        "sequence", "time", "type", "what happened", title=f"task_events of {task['id']}", title_justify="left"
    )
    for event in events_after(user, task["id"], 0):
        table.add_row(str(event["sequence"]), event["created_at"][11:23], event["type"], describe(event))
    console.print(table)
    made_by = task["llm_metadata"]
    usage = made_by.get("usage", {})
    cost = "unknown" if usage.get("cost") is None else f"${float(usage['cost']):.6f}"
    model = "the offline model" if made_by.get("offline") else f"{made_by.get('provider')}/{made_by.get('model')}"
    say(f"By {model}: {usage.get('input_tokens')} tokens in, {usage.get('output_tokens')} out, cost {cost}.")


def edit(user: Client, deliverable_id: str, content: str) -> None:
    """Adds version 2 by hand and lists both versions."""
    edited = content.rstrip() + "\n\n*Edited by a person.*\n"
    fetch(user.rpc("create_deliverable_version", {"deliverable_id": deliverable_id, "content": edited}))
    say("Edited it: create_deliverable_version made version 2. Version 1 is untouched:")
    versions = user.table("deliverable_versions").select("*").eq("deliverable_id", deliverable_id)
    table = Table("version", "current", "created_by_type", "characters", "last line")
    for version in fetch(versions.order("version_number")):
        last = version["content"].strip().splitlines()[-1][:50]
        current = "yes" if version["is_current_version"] else ""
        size = str(len(version["content"]))
        table.add_row(str(version["version_number"]), current, version["created_by_type"], size, last)
    console.print(table)


def one_task(user: Client, prompt: str) -> None:
    """One task from its insert to version 2; SystemExit with a message when it did not complete."""
    row = {"organization_slug": "demo-org", "method": "process", "agent_slug": AGENT, "prompt": prompt}
    task_id = str(fetch(user.table("tasks").insert(row))[0]["id"])
    say(f"Inserted one row into tasks: {task_id}.")
    task = follow(user, task_id)
    if task["status"] != "completed":
        raise SystemExit(f"demo: the task is {task['status']}: {task['error_code']}: {task['error_message']}")
    deliverable_id = task["response_metadata"]["deliverable"]["id"]
    content = show_deliverable(user, deliverable_id)
    show_trail(user, task)
    edit(user, deliverable_id, content)


def follow_project(user: Client, project_id: str, until: str) -> Row:
    """Shows what becomes of the steps and approves what is asked, until the project has the status; its overview."""
    seen: dict[str, str] = {}
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        overview = dict(fetch(user.rpc("project_overview", {"project_id": project_id})))
        for step in overview["steps"]:
            if seen.get(step["step_id"]) != step["status"]:
                seen[step["step_id"]] = step["status"]
                console.print(f"  {step['status']:<15}{step['step_name']}", highlight=False, markup=False)
            for question in step["questions"]:
                say(f"Asked: {question['prompt']} Answered with yes.")
                answer = {"input_request_id": question["id"], "response": {"approved": True}}
                fetch(user.rpc("respond_to_input_request", answer))
        if overview["status"] == until:
            return overview
        if overview["status"] in FINAL:
            raise SystemExit(f"demo: the project is {overview['status']}: {overview['error_details']}")
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"demo: project {project_id} has not ended; the worker's log is {WORKER_LOG.relative_to(ROOT)}")


def one_project(user: Client, prompt: str) -> None:
    """A project from the wish to its deliverables, and its drawing; SystemExit with a message when it failed."""
    begun = user.table("agent_conversations").insert({"organization_slug": "demo-org", "agent_slug": AGENT})
    request = {"conversation_id": fetch(begun)[0]["id"], "agent_slug": AGENT, "agents": [AGENT], "prompt": prompt}
    project_id = str(fetch(user.rpc("plan_project", request))["id"])
    say(f"Asked {AGENT} for a plan: project {project_id}.")
    follow_project(user, project_id, "awaiting_approval")
    fetch(user.rpc("approve_plan", {"project_id": project_id}))
    say("Approved the plan; it runs.")
    for step in follow_project(user, project_id, "completed")["steps"]:
        for deliverable in step["deliverables"]:
            show_deliverable(user, deliverable["id"])
    say("The project as Mermaid draws it:")
    diagram = fetch(user.rpc("project_diagram", {"project_id": project_id}))
    console.print(diagram, highlight=False, markup=False, soft_wrap=True)


def one_conversation(user: Client, prompt: str) -> None:
    """One message to the orchestrator, and all that is said until it has answered."""
    sent = fetch(user.rpc("message_orchestrator", {"organization_slug": "demo-org", "message": prompt}))
    say(f"Sent a message to the orchestrator: task {sent['task_id']}.")
    task = follow(user, sent["task_id"])
    if task["status"] != "completed":
        raise SystemExit(f"demo: the turn is {task['status']}: {task['error_code']}: {task['error_message']}")
    table = Table("from", "to", "what was said", title="messages", title_justify="left")
    messages = user.table("messages").select("*").eq("conversation_id", sent["conversation_id"]).order("created_at")
    for message in fetch(messages):
        table.add_row(message["sender_type"], message["receiver_type"], message["content"][:300])
    console.print(table)
    logs = user.table("agent_logs").select("event_type,summary").eq("task_id", sent["task_id"]).order("entry_index")
    for entry in fetch(logs):
        console.print(f"  {entry['event_type']:<17} {entry['summary'] or ''}", highlight=False, markup=False)
    agents = user.table("agent_instances").select("*").eq("orchestrator_agent_id", sent["orchestrator_agent_id"])
    for agent in fetch(agents.eq("archived", "false")):
        say(f"Agent {agent['name']}: {agent['status']}, {agent['output_tokens']} tokens written.")


def run(story: Callable[[Client, str], None], prompt: str) -> None:
    """One story on the stack, with a worker and a new user."""
    began = time.monotonic()
    with stack() as env:
        with worker(env):
            story(sign_up(env), prompt)
        say(f"Done in {time.monotonic() - began:.1f} s. The stack is still up:")
        console.print(
            f"  API        {env['SUPABASE_URL']}/rest/v1  (keys in .env, or: ./scripts/stack env)\n"
            "  worker     .venv/bin/python -m workers run   (--offline without a provider key)\n"
            "  look       ./scripts/stack status, ./scripts/stack logs\n"
            "  stop       ./scripts/stack down\n"
            "  go on      README.md: supabase-js, supabase-py, adding an agent",
            highlight=False,
            markup=False,
        )


def main() -> None:
    """Runs the demo with the prompt of the command line."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    story, words, wish = one_task, sys.argv[1:], "Write a post about tide pools"
    if words[:1] == ["--project"]:
        story, words, wish = one_project, words[1:], "Write about tides, moons and boats"
    elif words[:1] == ["--orchestrator"]:
        story, words, wish = one_conversation, words[1:], "Have somebody write a post about tide pools"
    try:
        run(story, " ".join(words).strip() or wish)
    except KeyboardInterrupt:
        raise SystemExit("demo: interrupted") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None


if __name__ == "__main__":
    main()
