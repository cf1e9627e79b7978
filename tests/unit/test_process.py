"""The worker as a process, against the fake behind HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.fake_backend import FakeBackend, FakeTask
from tests.unit.fake_postgrest import fake_postgrest
from tests.unit.helpers import until
from workers.__main__ import main

METHODS = [
    "command_agent",
    "converse",
    "deliver_webhook",
    "evaluate_step",
    "fetch_marketplace_usage",
    "orchestrate",
    "plan_project",
    "process",
    "publish_agent",
    "run_workflow",
    "sync_repository",
    "unpublish_agent",
]
AGENT = {
    "slug": "writer",
    "name": "Writer",
    "agent_type": "context",
    "context": "You write.",
    "status": "active",
    "llm_config": {"provider": "anthropic", "model": "claude-3-5-sonnet-20241022"},
}


def draft_task(backend: FakeBackend) -> FakeTask:
    return backend.add_task(method="process", prompt="Write about tide pools", agent=AGENT)


@contextmanager
def process(url: str, folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "workers", "run", "--poll-interval", "0.05", *arguments]
    given = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SUPABASE_URL": url,
        "SUPABASE_SERVICE_ROLE_KEY": "the-key",
        "LOG_FORMAT": "json",
        **env,
    }
    running = subprocess.Popen(command, env=given, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


async def test_once_offline_writes_the_deliverables_and_exits_with_0(tmp_path: Path) -> None:
    backend = FakeBackend()
    tasks = [draft_task(backend) for _ in range(3)]
    with (
        fake_postgrest(backend) as server,
        process(server.url, tmp_path, "--once", "--offline", LLM_OFFLINE_DELAY="0.2") as run,
    ):
        assert run.wait(20) == 0
    assert [task.status for task in tasks] == ["completed"] * 3
    assert tasks[0].result["llm_metadata"]["offline"] is True
    assert tasks[0].result["deliverable"]["title"] == "Tide pools"
    assert backend.stopped


async def test_sigterm_drains_and_exits_with_0(tmp_path: Path) -> None:
    backend = FakeBackend()
    task = draft_task(backend)
    settings = {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "50", "DRAIN_SECONDS": "0.3"}
    with fake_postgrest(backend) as server, process(server.url, tmp_path, **settings) as run:
        await until(lambda: bool(task.events), 20)
        run.send_signal(signal.SIGTERM)
        assert run.wait(10) == 0
    assert (task.status, task.attempt) == ("pending", 0)
    assert backend.stopped


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    backend = FakeBackend()
    task = draft_task(backend)
    settings = {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "50"}
    with fake_postgrest(backend) as server, process(server.url, tmp_path, **settings) as run:
        await until(lambda: bool(task.events), 20)
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGTERM)
        assert run.wait(3) in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert task.status == "in_progress"


async def test_without_a_key_and_without_offline_the_task_fails_and_names_the_variable(tmp_path: Path) -> None:
    backend = FakeBackend()
    task = draft_task(backend)
    with fake_postgrest(backend) as server, process(server.url, tmp_path, "--once") as run:
        assert run.wait(20) == 0
    assert task.result["error_code"] == "provider_key_missing"
    assert "ANTHROPIC_API_KEY" in task.result["error_message"]
    assert task.result["retryable"] is False


def test_missing_settings_end_with_2_and_name_the_variable(tmp_path: Path) -> None:
    with process("", tmp_path) as run:
        _, errors = run.communicate(timeout=20)
    assert run.returncode == 2
    assert errors == "orchestrator-worker: SUPABASE_URL is not set: it holds the address to call. " + (
        "Set it in the environment or in .env.\n"
    )


def test_a_method_without_a_handler_ends_with_2_and_says_which_there_are(tmp_path: Path) -> None:
    with process("http://127.0.0.1:1", tmp_path, "--methods", "converse,translate") as run:
        _, errors = run.communicate(timeout=20)
    assert run.returncode == 2
    assert "--methods names translate, but this worker has handlers for " + ", ".join(METHODS) in errors


async def test_only_methods_with_a_handler_are_asked_for(tmp_path: Path) -> None:
    backend = FakeBackend()
    with fake_postgrest(backend) as server, process(server.url, tmp_path, "--once") as run:
        assert run.wait(20) == 0
    assert [info["methods"] for info in backend.registered] == [METHODS]


@pytest.mark.parametrize(
    "arguments",
    [[], ["run", "--concurrency", "0"], ["run", "--poll-interval", "never"], ["run", "--methods", ","], ["walk"]],
)
def test_wrong_use_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: orchestrator-worker" in capsys.readouterr().err


def test_help_tells_about_settings_and_signals(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for word in ("SUPABASE_URL", "ANTHROPIC_API_KEY", "LLM_OFFLINE", "SIGTERM", "--organization"):
        assert word in text
