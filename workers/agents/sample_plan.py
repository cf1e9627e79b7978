"""Makes a plan by rule, without a language model; used by the offline model only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from workers.agents.draft import Draft
from workers.agents.plan_format import Plan, PlanBrief

_MOST_PARTS = 3
_BETWEEN = re.compile(r"\s*(?:,|;|\band\b|&)\s*")
_DELIVERABLE = {"deliverable": "text"}
_FREE = re.compile(r"[^A-Za-z0-9]+")


def sample_plan(brief: PlanBrief, draft: Draft) -> Plan:
    """Return {name, steps} for the request: research, parts of a text side by side, the whole text, its approval.

    A plan that is refined keeps its steps and gets one more at its end, for the wish. With few steps allowed, or
    without agents, it is shorter. The same input always gives the same plan.
    """
    if brief.present is not None and brief.present.get("steps"):
        return {"name": draft.title, "steps": _refined(brief, brief.present["steps"])}
    slugs = [str(agent["slug"]) for agent in brief.agents]
    if not slugs:
        question = f"No agent can do this. What is the answer?\n\n{brief.request}"
        ask = {"id": "answer", "name": "Answer", "type": "human_input", "prompt": question}
        return {"name": draft.title, "steps": [ask]}
    return {"name": draft.title, "steps": _steps(brief, draft, slugs)}


def _steps(brief: PlanBrief, draft: Draft, slugs: Sequence[str]) -> list[dict[str, Any]]:
    if brief.max_steps < 3:
        return [_agent("write", "Write it", slugs[0], brief.request) | _DELIVERABLE]
    subjects = [piece for keyword in draft.keywords for piece in _BETWEEN.split(keyword) if piece]
    terms = list(dict.fromkeys(subjects))[: min(_MOST_PARTS, brief.max_steps - 3)]
    topic = draft.keywords[0]
    research = _agent("research", f"Find out about {topic}", slugs[0], f"Collect what is needed for: {brief.request}")
    parts = [
        _agent(
            f"part-{number}", f"Write about {term}", slugs[number % len(slugs)],
            f"Write the part about {term} of: {brief.request}\n\nWhat is known:\n{{{{ steps.research.result }}}}",
            "research",
        )
        for number, term in enumerate(terms, start=1)
    ]  # fmt: skip
    before = [part["id"] for part in parts] or ["research"]
    pieces = "\n\n".join(f"{{{{ steps.{name}.result }}}}" for name in before)
    write = _agent("write", "Put it together", slugs[-1], f"Make one text for: {brief.request}\n\n{pieces}", *before)
    write |= _DELIVERABLE
    approve = {
        "id": "approve",
        "name": "Approve the text",
        "type": "human_approval",
        "prompt": f"Is this what you asked for? {draft.title}",
        "shows": "write",
        "dependencies": ["write"],
    }
    return [research, *parts, write, approve]


def _refined(brief: PlanBrief, present: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps with one for the wish after those on which no other depends, as long as there is room."""
    needed = {name for step in present for name in step.get("dependencies") or ()}
    last = [str(step["id"]) for step in present if step["id"] not in needed]
    if not brief.agents or len(present) >= brief.max_steps:
        return present
    taken = {step["id"] for step in present}
    name = next(name for number in range(1, len(present) + 2) if (name := f"refine-{number}") not in taken)
    wish = " ".join(_FREE.sub(" ", brief.request).split())[:60] or "the wish"
    prompt = f"{brief.request}\n\n" + "\n\n".join(f"{{{{ steps.{step}.result }}}}" for step in last)
    return [*present, _agent(name, f"Refine: {wish}", str(brief.agents[-1]["slug"]), prompt, *last) | _DELIVERABLE]


def _agent(name: str, title: str, agent: str, prompt: str, *dependencies: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": title[:500],
        "type": "agent",
        "agent": agent,
        "prompt": prompt,
        "dependencies": list(dependencies),
    }
