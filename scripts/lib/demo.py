"""The demo: what a frontend does, in supabase-py, beside a real worker process. Called by scripts/demo."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from dotenv import dotenv_values
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from supabase import Client, create_client

ROOT = Path(__file__).resolve().parents[2]
STACK = str(ROOT / "scripts" / "stack")
WORKER_LOG = ROOT / ".stack" / "demo-worker.log"
AGENT = "blog-post-writer"
FINAL = {"completed", "failed", "cancelled", "timeout", "rejected"}
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 330.0  # longer than a task's own timeout_seconds

console = Console()
Row = dict[str, Any]


def say(text: str) -> None:
    console.print(f"[bold cyan]>[/] {text}", highlight=False)


@contextmanager
def stack() -> Iterator[dict[str, str]]:
    """The local stack's variables. Interrupted, it stops a stack that this demo has started; otherwise the stack stays."""
    was_up = subprocess.run([STACK, "status"], capture_output=True, check=False).returncode == 0
    try:
        subprocess.run([STACK, "up"], check=True)
        exports = subprocess.run([STACK, "env"], check=True, capture_output=True, text=True).stdout
        pairs = (line.removeprefix("export ").split("=", 1) for line in exports.splitlines() if line.startswith("export "))
        yield {name: value.strip("'\"") for name, value in pairs}
    except KeyboardInterrupt:
        if not was_up:
            subprocess.run([STACK, "down"], check=False)
        raise


@contextmanager
def worker(env: dict[str, str]) -> Iterator[None]:
    """A worker process for demo-org; told to finish at the end, and its log kept."""
    settings = {**dotenv_values(ROOT / ".env"), **os.environ, **env}
    command = [sys.executable, "-m", "workers", "run", "--organization", "demo-org"]
    if settings.get("ANTHROPIC_API_KEY"):
        say("ANTHROPIC_API_KEY is set: the agent runs on Anthropic.")
    else:
        say("No ANTHROPIC_API_KEY: the offline model writes a draft from the prompt, marked as offline in llm_metadata.")
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
    invitation = operator.rpc("create_invitation", {"organization_slug": "demo-org", "email": email}).execute().data
    member = user.rpc("accept_invitation", {"token": invitation["token"]}).execute().data
    say(f"Joined {member['organization_slug']} as {member['role']} by an invitation.")
    return user


def follow(user: Client, task_id: str) -> Row:
    """Shows a task's progress until it has ended, by reading task_events after the last sequence seen; returns the task."""
    seen = 0
    give_up = time.monotonic() + PATIENCE_SECONDS
    columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("pending", total=100)
        while time.monotonic() < give_up:
            events: list[Row] = (
                user.table("task_events").select("*").eq("task_id", task_id).gt("sequence", seen).order("sequence").execute().data
            )
            for event in events:
                seen = event["sequence"]
                line = describe(event)
                if event["type"] == "progress":
                    bar.update(shown, completed=event["data"]["progress"], description=event["message"] or "working")
                elif event["type"] == "status":
                    bar.update(shown, description=event["data"]["to"], completed=100 if event["data"]["to"] == "completed" else None)
                if not console.is_terminal and event["type"] != "partial":
                    console.print(f"  {line}", highlight=False)
                if event["type"] == "status" and event["data"]["to"] in FINAL:
                    return dict(user.table("tasks").select("*").eq("id", task_id).single().execute().data)
            time.sleep(POLL_SECONDS)
    raise SystemExit(f"demo: task {task_id} has not ended; the worker's log is {WORKER_LOG.relative_to(ROOT)}")


def describe(event: Row) -> str:
    """One event in one line."""
    data = event["data"]
    match event["type"]:
        case "status":
            return f"{data.get('from', 'new')} -> {data['to']}" + (f" ({data['error_code']})" if "error_code" in data else "")
        case "progress":
            return f"{data['progress']:>3}% {event['message'] or ''}".rstrip()
        case "partial":
            return f"{len(data.get('text', ''))} characters of text"
        case _:
            return event["message"] or ""


def show_trail(user: Client, task: Row) -> None:
    """The task's events as a table, then tokens and cost."""
    events: list[Row] = user.table("task_events").select("*").eq("task_id", task["id"]).order("sequence").execute().data
    table = Table("sequence", "time", "type", "what happened", title=f"task_events of {task['id']}", title_justify="left")
    for event in events:
        table.add_row(str(event["sequence"]), event["created_at"][11:23], event["type"], describe(event))
    console.print(table)
    usage = task["llm_metadata"].get("usage", {})
    cost = usage.get("cost")
    offline = " (offline model)" if task["llm_metadata"].get("offline") else ""
    say(
        f"{task['llm_metadata'].get('provider')}/{task['llm_metadata'].get('model')}{offline}: "
        f"{usage.get('input_tokens')} tokens in, {usage.get('output_tokens')} out, "
        f"cost {'unknown' if cost is None else f'${float(cost):.6f}'}."
    )


def edit(user: Client, deliverable_id: str, content: str) -> None:
    """Adds version 2 by hand and lists both versions."""
    user.rpc(
        "create_deliverable_version",
        {"deliverable_id": deliverable_id, "content": content.rstrip() + "\n\n*Edited by a person.*\n"},
    ).execute()
    say("Edited it: create_deliverable_version made version 2. Version 1 is untouched:")
    versions: list[Row] = (
        user.table("deliverable_versions").select("*").eq("deliverable_id", deliverable_id).order("version_number").execute().data
    )
    table = Table("version", "current", "created_by_type", "characters", "last line")
    for version in versions:
        lines = version["content"].strip().splitlines()
        table.add_row(
            str(version["version_number"]), "yes" if version["is_current_version"] else "", version["created_by_type"],
            str(len(version["content"])), lines[-1][:60],
        )
    console.print(table)


def run(prompt: str) -> None:
    began = time.monotonic()
    with stack() as env:
        with worker(env):
            user = sign_up(env)
            row = {"organization_slug": "demo-org", "method": "process", "agent_slug": AGENT, "prompt": prompt}
            task_id: str = user.table("tasks").insert(row).execute().data[0]["id"]
            say(f"Inserted one row into tasks: {task_id}.")
            task = follow(user, task_id)
            if task["status"] != "completed":
                raise SystemExit(f"demo: the task is {task['status']}: {task['error_code']}: {task['error_message']}")
            made = task["response_metadata"]["deliverable"]
            deliverable: Row = (
                user.table("deliverables").select("title,type,deliverable_versions(content,version_number)")
                .eq("id", made["id"]).single().execute().data
            )
            version = deliverable["deliverable_versions"][0]
            console.rule(f"{deliverable['title']} - version {version['version_number']}")
            console.print(Markdown(version["content"]) if console.is_terminal else version["content"], highlight=False, markup=False)
            console.rule()
            show_trail(user, task)
            edit(user, made["id"], version["content"])
        say(f"Done in {time.monotonic() - began:.1f} s. The stack is still up:")
        console.print(
            f"  API        {env['SUPABASE_URL']}/rest/v1  (keys in .env, or: ./scripts/stack env)\n"
            "  worker     .venv/bin/python -m workers run   (add --offline without a provider key)\n"
            "  look       ./scripts/stack status | logs     stop it: ./scripts/stack down\n"
            "  go on      README.md: use it from supabase-js and supabase-py, add an agent",
            highlight=False, markup=False,
        )


def main() -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    prompt = " ".join(sys.argv[1:]).strip() or "Write a post about tide pools"
    try:
        run(prompt)
    except KeyboardInterrupt:
        raise SystemExit("demo: interrupted") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None


if __name__ == "__main__":
    main()
