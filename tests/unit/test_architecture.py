from __future__ import annotations

import ast
import functools
import inspect
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import workers
from tests.unit.fake_backend import FakeBackend
from workers.backend import Backend

ROOT = Path(workers.__file__).parent
# The lowest layer first; a module imports only from lower layers or from its own.
LAYERS = (
    {"ledger", "questions", "calls", "clean", "backoff", "lenient", "keyring", "redaction", "slots", "burial"},
    {"errors"},
    {"contract", "settings", "schema_check", "snippet", "marketplace_job"},
    {"parsing", "packing", "cron"},
    {"schedules"},
    {"lanes", "polls", "line"},
    {"deliverable", "laneset", "reports", "logs", "backend", "wakeup"},
    {"door", "secrets", "scoped", "trace"},
    {"ports", "job", "agents", "flights", "system_log"},
    {
        "handlers",
        "planning",
        "orchestrator",
        "steps",
        "assembly",
        "git",
        "webhooks",
        "marketplaces",
        "answers",
        "departure",
        "exchange",
        "metrics",
    },
    {"runner", "metrics_server", "a2a"},
    {"worker", "secret_commands", "token_command", "otel"},
    {"__main__"},
)
GENERATED = {"models"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    names = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name not in GENERATED:
            names[name] = ast.parse(path.read_text())
    return names


def imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return found


def layer(module: str) -> int:
    top = module.split(".", maxsplit=1)[0]
    return next(number for number, names in enumerate(LAYERS) if top in names)


def test_imports_flow_one_way() -> None:
    upward = [
        f"{name} imports {target}"
        for name, tree in modules().items()
        if not name.endswith("__init__")
        for target in imports(tree)
        if target.startswith("workers.") and layer(target.removeprefix("workers.")) > layer(name)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {target.removeprefix("workers.") for target in imports(tree) if target.startswith("workers.")}
        for name, tree in modules().items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("supabase", {"backend"}),
        ("postgrest", set()),
        ("pydantic_ai", {"agents", "orchestrator"}),
        ("anthropic", {"agents"}),
        ("openai", {"agents"}),
        ("jsonschema", {"schema_check"}),
        ("httpcore", {"door"}),
        ("langgraph_sdk", {"agents"}),
        ("httpx_sse", {"agents"}),
        ("cronsim", {"cron", "schedules"}),
        ("dotenv", {"settings"}),
        ("dulwich", {"git"}),
        ("yaml", {"git"}),
        ("cryptography", {"keyring"}),
        ("psycopg", {"wakeup"}),
        ("starlette", {"a2a"}),
        ("uvicorn", {"a2a"}),
        ("prometheus_client", {"metrics", "metrics_server"}),
        ("opentelemetry", {"otel"}),
    ],
)
def test_a_foreign_package_is_known_in_one_place(package: str, homes: set[str]) -> None:
    users = {
        name.split(".")[0]
        for name, tree in modules().items()
        if any(target.split(".")[0] == package for target in imports(tree))
    }
    assert users <= homes


def test_only_settings_and_the_process_description_touch_the_environment() -> None:
    users = {name for name, tree in modules().items() if "os" in imports(tree)}
    assert users == {"settings", "worker"}


def test_modules_and_functions_stay_short() -> None:
    for path in ROOT.rglob("*.py"):
        if path.stem in GENERATED:
            continue
        text = path.read_text()
        assert len(text.splitlines()) < 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, f"{path.name}: {node.name}"


def test_the_fake_backend_has_the_signatures_of_the_real_one() -> None:
    methods = [name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")]
    assert methods == ["call", "claim_schedules", "exchange_work", "fire_schedules", "register_worker", "stop_worker"]
    for name in methods:
        real, fake = getattr(Backend, name), getattr(FakeBackend, name)
        assert inspect.signature(fake) == inspect.signature(real)
        assert inspect.iscoroutinefunction(fake)
