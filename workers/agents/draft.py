"""Writes a structured Markdown draft from a request, by rule and without a language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n")
_TOPIC = re.compile(r"\b(?:about|on|regarding|covering|describing|explaining)\s+(.+)", re.IGNORECASE | re.DOTALL)
_TOPIC_END = re.compile(r"\s+(?:for|with|that|which|including|in the style of|using)\s+", re.IGNORECASE)
_REQUEST = re.compile(
    r"^\s*(?:please\s+)?(?:can you\s+|could you\s+)?"
    r"(?:write|draft|create|compose|prepare|make|give|produce|explain|describe|summari[sz]e)\s+"
    r"(?:me\s+|us\s+)?(?:an?\s+|the\s+|some\s+)?",
    re.IGNORECASE,
)
_STOP = frozenset(
    _WORD.findall(
        "a about after all also an and any are article as at be blog but by can do draft for from give has have how i "
        "in include including into is it its just like make may me more most my no not of on one or our out please "
        "post short should so some such text than that the their them then there these they this to up us use was we "
        "were what when where which while who why will with words write you your"
    )
)
_MAX_SECTIONS = 4
_MAX_TOPIC_CHARS = 80
_MAX_PROMPT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished draft; `text` is the whole document in Markdown."""

    title: str
    summary: str
    keywords: tuple[str, ...]
    text: str


def write_draft(prompt: str, params: Mapping[str, Any], agent_name: str, agent_context: str) -> Draft:
    """Return a draft: title, introduction, the request, a section for each key term, closing.

    Honours the params `title`, `keywords` (a list, or text with commas), `tone` and `audience`. The same input
    always gives the same draft.
    """
    topic = _topic(prompt)
    asked = _listed(params.get("keywords"))
    terms = (asked or _key_phrases(prompt, topic))[:_MAX_SECTIONS]
    title = _text(params.get("title")) or _capitalised(topic)
    summary = _summary(topic, terms, _text(params.get("tone")), _text(params.get("audience")))
    parts = [f"# {title}", summary, _request(prompt, agent_name, agent_context), _first_section(topic)]
    parts += [_section(number, term, topic) for number, term in enumerate(terms)]
    parts += [_why_section(topic), _closing(topic, terms)]
    return Draft(title, summary, tuple(asked or [topic, *terms]), "\n\n".join(parts) + "\n")


def _topic(prompt: str) -> str:
    first = _SENTENCE_END.split(prompt.strip()[:_MAX_PROMPT_CHARS], maxsplit=1)[0]
    match = _TOPIC.search(first)
    topic = _TOPIC_END.split(match.group(1))[0] if match else _REQUEST.sub("", first)
    topic = " ".join(topic.split()).strip(" .!?:;,\"'")[:_MAX_TOPIC_CHARS].rstrip()
    return topic or "the request"


def _key_phrases(prompt: str, topic: str) -> list[str]:
    """Return runs of up to three words between stop words, in their order, without those of the topic."""
    phrases: list[str] = []
    run: list[str] = []
    for token in re.findall(r"[^\W\d_][\w'-]*|[^\w\s]", prompt[:_MAX_PROMPT_CHARS]):
        if _WORD.fullmatch(token) and token.lower() not in _STOP:
            run.append(token)
            continue
        phrases.append(" ".join(run))
        run = []
    phrases.append(" ".join(run))
    in_topic = {word.lower() for word in _WORD.findall(topic)}
    return [
        phrase
        for phrase in dict.fromkeys(phrases)
        if 0 < len(phrase.split()) <= 3 and not {word.lower() for word in phrase.split()} & in_topic
    ]


def _summary(topic: str, terms: list[str], tone: str | None, audience: str | None) -> str:
    reader = audience or "a reader who is new to it"
    route = f"looks at {_joined(terms)} in turn, says" if terms else "says"
    manner = f" It is meant to be read in a {tone} tone." if tone else ""
    return (
        f"This draft introduces {topic} to {reader}. It sets out what the subject is, {route} why it is worth "
        f"the reader's time, and ends with what to do next.{manner}"
    )


def _request(prompt: str, agent_name: str, agent_context: str) -> str:
    asked = " ".join(prompt[:_MAX_PROMPT_CHARS].split())
    quoted = asked if len(asked) <= 280 else asked[:279].rstrip() + "…"
    role = " ".join(agent_context[:_MAX_PROMPT_CHARS].split()).split(". ")[0].strip().rstrip(".")
    guide = f"\n>\n> {agent_name} works under this guidance: {role[:200]}." if role else ""
    return f"> The request: {quoted}{guide}"


def _first_section(topic: str) -> str:
    return (
        f"## {_capitalised(topic)}, in short\n\n"
        f"Open with the subject itself. Someone who has never met {topic} needs one plain sentence that says what it "
        f"is, one picture that stays in mind, and a reason to read on.\n\n"
        f"- **Say what it is:** one sentence, without jargon.\n"
        f"- **Show it:** a concrete scene in which the reader would meet {topic}.\n"
        f"- **Promise something:** what the reader will know or be able to do at the end."
    )


_OPENINGS = (
    "From the subject itself the draft moves to {term}.",
    "The next thing to bring in is {term}.",
    "Seen from another side, {topic} leads to {term}.",
    "The last angle that was asked for is {term}.",
)


def _section(number: int, term: str, topic: str) -> str:
    opening = _OPENINGS[number % len(_OPENINGS)].format(term=term, topic=topic)
    return (
        f"## {_capitalised(term)}\n\n{opening} Connect it to {topic} in the first line, then support it.\n\n"
        f"- **The point:** the one thing about {term} that the reader must keep.\n"
        f"- **An example:** a case that can be checked, with its source.\n"
        f"- **A question to answer:** what would a careful reader ask here?"
    )


def _why_section(topic: str) -> str:
    return (
        f"## Why it is worth the reader's time\n\n"
        f"Say plainly what changes for someone who understands {topic}: what they notice, what they can decide "
        f"better, what they would otherwise get wrong. One honest limit makes the rest more credible."
    )


def _closing(topic: str, terms: list[str]) -> str:
    route = f" by way of {_joined(terms)}" if terms else ""
    return (
        f"## What to do next\n\n"
        f"1. Read the introduction again: does it keep the promise about {topic}{route}?\n"
        f"2. Fill in each example with a source.\n"
        f"3. Cut what does not serve the reader, and end on one thing to try today."
    )


def _listed(value: Any) -> list[str]:
    entries = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [entry.strip()[:60] for entry in entries if isinstance(entry, str) and entry.strip()][:12]


def _text(value: Any) -> str | None:
    return " ".join(value.split())[:120] or None if isinstance(value, str) else None


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
