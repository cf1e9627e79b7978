"""Templates and filters of strangers: what they give, and what they cannot do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from workers.agents.transforms import TransformError, TransformLimits, Transforms

LIMITS = TransformLimits(cpu_seconds=0.4, wall_seconds=6, memory_bytes=300 * 2**20, processes=2)
PARAMS = {"n": 3, "items": [1, 2], "o": {"k": ['"']}, "none": None}
NAMES = {"task": {"prompt": 'He said "hi"\n\\', "params": PARAMS}}


@pytest.fixture
async def transforms() -> AsyncIterator[Transforms]:
    async with Transforms(LIMITS) as running:
        yield running


async def kinds(transforms: Transforms, templates: list[Any]) -> list[tuple[Any, str]]:
    """Render templates that must fail and return why."""
    found: list[tuple[Any, str]] = []
    for template in templates:
        with pytest.raises(TransformError) as caught:
            await transforms.render("acme", template, NAMES)
        found.append((template, caught.value.kind))
    return found


async def test_values_in_json_cannot_leave_their_place(transforms: Transforms) -> None:
    template = (
        '{"q": "{{ task.prompt }}", "bare": {{ task.prompt }}, "n": {{ task.params.n }}, "null": '
        '{{ task.params.none }}, "mixed": "<{{ task.params.o }}>", "object": {{ task.params.o }}, '
        '"json": {{ task.prompt | tojson }}}'
    )
    assert await transforms.render("acme", template, NAMES) == {
        "q": 'He said "hi"\n\\',
        "bare": 'He said "hi"\n\\',
        "n": 3,
        "null": None,
        "mixed": '<{"k": ["\\""]}>',
        "object": {"k": ['"']},
        "json": 'He said "hi"\n\\',
    }
    # An object whose keys would be JSON if it were written out as it is.
    evil = {"task": {"prompt": {', "admin": true, "x": "': 1}}}
    assert list(await transforms.render("acme", '{"q": "{{ task.prompt }}"}', evil)) == ["q"]
    marks = {"task": {"prompt": "\ue0000\ue001", "params": {"n": "secret"}}}
    assert await transforms.render("acme", "{{ task.params.n }} {{ task.prompt }}", marks) == "secret \ue0000\ue001"


async def test_loops_conditions_and_names_of_methods(transforms: Transforms) -> None:
    template = "[{% for i in task.params.items %}{{ i * 2 }}{% if not loop.last %},{% endif %}{% endfor %}]"
    assert await transforms.render("acme", template, NAMES) == [2, 4]
    assert await transforms.render("acme", "{% if task.params.keys %}a{% else %}b{% endif %}", NAMES) == "b"
    assert await transforms.render("acme", {"a": "{{ task.params.gone | default(5) }}"}, NAMES) == {"a": 5}


async def test_templates_that_cannot_be_compiled(transforms: Transforms) -> None:
    templates: list[Any] = [
        "{{",
        "{% for x in y %}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as o %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set x %}{{ 1 }}{% endset %}",
        "{{ ''|attr('__class__') }}",
        "{{ '%s'|format(1) }}",
        "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
        {"a": ["{{"]},
    ]
    assert await kinds(transforms, templates) == [(template, "syntax") for template in templates]


async def test_templates_that_reach_for_more_than_their_values(transforms: Transforms) -> None:
    templates: list[Any] = [
        "{{ ''.__class__ }}",
        "{{ task.__class__ }}",
        "{{ task.prompt.__class__.__mro__[1].__subclasses__() }}",
        "{{ range.__globals__ }}",
        "{{ task.params.o.update({}) }}",
        "{{ 'a'.upper() }}",
        "{{ '{0.__class__}'.format('x') }}",
        "{{ self._TemplateReference__context }}",
        "{{ self }}",
        "{{ loop }}",
        "{{ lipsum }}",
        "{{ cycler }}",
        "{{ environ }}",
        "{{ task.params.missing }}",
        "{% for i in range(1000000000000) %}{% endfor %}",
        '{"a": {{ task.params.n }}',
        '{"a": "\\{{ task.prompt }}"}',
        "{{ 1 / 0 }}",
    ]
    assert await kinds(transforms, templates) == [(template, "failed") for template in templates]


async def test_templates_that_take_too_much(transforms: Transforms) -> None:
    loop = "{% for i in range(99999) %}"
    assert [
        kind
        for _, kind in await kinds(
            transforms,
            [
                loop + loop + "{% endfor %}{% endfor %}",
                "{{ 'x' * 10 ** 10 }}",
                "{{ 9 ** (9 ** 9) }}",
                loop + "{{ 'x' * 10000 }}{% endfor %}",
                loop + "{% for j in range(9999) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
            ],
        )
    ] == ["too_much", "too_much", "too_much", "too_much", "too_large"]
    assert await transforms.render("acme", "{{ task.params.n }}", NAMES) == "3"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (".[", "syntax"),
        ("nothing_of_this_name", "syntax"),
        ('import "x" as x; x::y', "syntax"),
        ("." + "[" * 5000, "syntax"),
        ("empty", "empty"),
        ("halt", "empty"),
        ('error("no")', "failed"),
        (".a.b.c", "failed"),
        ("input", "failed"),
        ("def f: f; f", "too_much"),
        ("def f: 1 + f; f", "too_much"),
        ("last(range(1e12))", "too_much"),
        ("[range(1e12)]", "too_much"),
        ('reduce range(1e9) as $i ("a"; . + .)', "too_much"),
        ('"x" * 20000000', "too_large"),
    ],
)
async def test_filters_that_do_not_work(transforms: Transforms, source: str, kind: str) -> None:
    with pytest.raises(TransformError) as caught:
        await transforms.run_filter("acme", source, {"a": "text"})
    assert (caught.value.kind, len(caught.value.message) < 10_000) == (kind, True)
    assert await transforms.run_filter("acme", ".a", {"a": 1}) == 1


async def test_filters_read_no_file_and_no_environment(
    transforms: Transforms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "canary")
    (tmp_path / "data.json").write_text('"canary"')
    (tmp_path / "module.jq").write_text('def secret: "canary";')
    # Python gives itself this one when there is no locale; it is no secret.
    assert set(await transforms.run_filter("acme", "env + $ENV", None)) <= {"LC_CTYPE"}
    assert await transforms.run_filter("acme", "[input_filename, get_search_list]", None) == [None, []]
    for source in (
        'import "data" as $x {search: "DIR"}; $x',
        'import "module" as m {search: "DIR"}; m::secret',
        'include "module" {search: "DIR"}; secret',
        'import "data" as $x {search: "DIR"}; $__prog_args',
    ):
        with pytest.raises(TransformError) as caught:
            await transforms.check_filter("acme", source.replace("DIR", str(tmp_path)))
        assert caught.value.kind == "syntax"
        assert "canary" not in caught.value.message


async def test_one_tenant_does_not_hold_up_the_others(transforms: Transforms) -> None:
    slow = [asyncio.create_task(transforms.run_filter("greedy", "def f: f; f", None)) for _ in range(4)]
    await asyncio.sleep(0.1)
    assert await transforms.run_filter("acme", ".a", {"a": 1}) == 1
    assert not any(task.done() for task in slow[1:])
    assert {type(error) for error in await asyncio.gather(*slow, return_exceptions=True)} == {TransformError}


async def test_a_job_that_is_cancelled_leaves_no_child_and_no_wrong_answer(transforms: Transforms) -> None:
    assert await transforms.run_filter("acme", ".", 1) == 1
    job = asyncio.create_task(transforms.run_filter("acme", "def f: f; f", None))
    await asyncio.sleep(0.1)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert await transforms.run_filter("acme", ".", 2) == 2


def test_children_end_with_their_worker_however_that_ends() -> None:
    """Kill a process in the middle of a job of its child."""
    code = (
        "import asyncio\n"
        "from workers.agents.transforms import Transforms, TransformLimits\n"
        "async def main():\n"
        "    async with Transforms(TransformLimits(cpu_seconds=1)) as t:\n"
        "        await t.run_filter('acme', '.', 1)\n"
        "        print(t._idle[0].pid, flush=True)\n"
        "        await t.run_filter('acme', 'def f: f; f', 1)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdout is not None
        child = Path("/proc") / worker.stdout.readline().decode().strip()
        assert child.exists()
        worker.kill()
    deadline = time.monotonic() + 20
    while child.exists() and "Z" not in (child / "stat").read_text().split(")")[1].split()[:1]:
        assert time.monotonic() < deadline, "the child outlives its worker"
        time.sleep(0.05)
