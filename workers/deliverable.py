"""Shapes what an agent answered into a titled document."""

from __future__ import annotations

import json
import re
from typing import Any

from workers.contract import Deliverable, Format, TaskRow

_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_HTML = re.compile(r"^\s*<(!doctype html|html|body|article|section|div|p|h[1-6])[\s>]", re.IGNORECASE)
_MAX_TITLE = 200
_PROMPT_START = 60
DEFAULT_TYPE = "text"


def build_deliverable(
    task: TaskRow, content: str, *, agent_name: str, text_format: Format | None = None, title: str | None = None
) -> Deliverable:
    """Return the task's deliverable.

    The title is the one the agent gave, else the first Markdown heading, else the agent's name with the beginning
    of the prompt. The format is `text_format`, else what the content looks like.
    """
    chosen = text_format or guess_format(content)
    metadata = dict(task.deliverable_metadata) if isinstance(task.deliverable_metadata, dict) else {}
    return Deliverable(
        title=_shorten(title or _heading(content, chosen) or _fallback_title(agent_name, task.prompt), _MAX_TITLE),
        type=task.deliverable_type or DEFAULT_TYPE,
        format=chosen,
        content=content,
        metadata=metadata,
    )


def guess_format(content: str) -> Format:
    """Return what `content` looks like: a JSON object or array, HTML, and otherwise Markdown."""
    if _HTML.match(content):
        return "html"
    if content.lstrip()[:1] in {"{", "["}:
        try:
            value: Any = json.loads(content)
        except (ValueError, RecursionError):
            return "markdown"
        return "json" if isinstance(value, dict | list) else "markdown"
    return "markdown"


def _heading(content: str, text_format: Format) -> str | None:
    if text_format != "markdown":
        return None
    match = _HEADING.search(content[:20_000])
    return match.group(1).strip("*_` ") or None if match else None


def _fallback_title(agent_name: str, prompt: str) -> str:
    start = _shorten(" ".join(prompt[: _PROMPT_START * 4].split()), _PROMPT_START)
    return f"{agent_name}: {start}" if start else agent_name


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
