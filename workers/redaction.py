"""Hides secrets in texts: those handed out for an organization in what its attempts say, all of them in the log.

What one organization keeps secret is not looked for in what another's agents say: else anybody could garble the answers
of others with a secret like "because", and find out by trial what others' secrets are.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
PLATFORM = ""  # Whose secrets are hidden from everybody: the operator's.

# Shorter ones would hide words that only look like them.
_MIN_CHARS = 6
_MIN_PLATFORM_CHARS = 16
_MAX_CHARS = 32_000_000
# Codes, counts and prices, in which nothing of an agent stands.
_OUR_WORDS = frozenset(("error_code", "usage"))
_MAX_DEPTH = 100  # As in `clean`: what nests deeper is not kept by the database.
# What the HTTP client leaves as it is in a path or a query.
_URL_SAFE = "!$&'()*+,/:;=?@~"


class Redactor:
    """The values to hide; any thread may ask. What it keeps is bounded: whoever has the most loses the oldest."""

    def __init__(self, max_chars: int = _MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._values: dict[str, dict[str, frozenset[str]]] = {}
        self._forms: dict[str, tuple[str, ...]] = {}  # What is looked for, the longest first; replaced, never changed.
        self._chars: dict[str, int] = {}
        self._lock = threading.Lock()

    def remember(self, value: str, organization: str = PLATFORM) -> None:
        """Hide a value from now on."""
        if len(value) < (_MIN_CHARS if organization else _MIN_PLATFORM_CHARS):
            return
        with self._lock:
            values = self._values.setdefault(organization, {})
            if value in values:
                values[value] = values.pop(value)  # It is the newest again.
                return
            values[value] = frozenset(_forms(value) if organization else {value})
            self._weigh(organization)
            while sum(self._chars.values()) > self._max_chars:
                largest = max(self._chars, key=self._chars.__getitem__)
                self._values[largest].pop(next(iter(self._values[largest])))
                self._weigh(largest)

    @property
    def active(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self._forms)

    def _weigh(self, organization: str) -> None:
        forms = {form for some in self._values[organization].values() for form in some}
        if forms:
            self._chars[organization] = sum(map(len, forms))
            self._forms[organization] = tuple(sorted(forms, key=len, reverse=True))
        else:
            for kept in (self._values, self._chars, self._forms):
                kept.pop(organization, None)

    def forms(self, organization: str | None = None) -> Iterator[str]:
        """Return what to look for in an organization's texts, or in those of nobody in particular."""
        if organization is None:
            for forms in list(self._forms.values()):
                yield from forms
            return
        yield from self._forms.get(organization, ())
        yield from self._forms.get(PLATFORM, ())

    def text(self, text: str, organization: str | None = None) -> str:
        """Return `text` with REDACTED for each secret in it."""
        if not self._forms:
            return text
        for form in self.forms(organization):
            if form in text:
                text = text.replace(form, REDACTED)
        return text

    def json(self, value: Any, organization: str | None = None, depth: int = 0) -> Any:
        """Return a JSON value with the secrets in its strings hidden, in the names of its keys too."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value, organization)
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth >= _MAX_DEPTH:
            return None
        if isinstance(value, Mapping):
            return {
                self.json(key, organization, depth + 1): self.json(entry, organization, depth + 1)
                for key, entry in value.items()
            }
        return [self.json(entry, organization, depth + 1) for entry in value]


class Veil:
    """Hides an organization's secrets in what one attempt says."""

    def __init__(self, redactor: Redactor | None = None, organization: str = PLATFORM) -> None:
        self._redactor = redactor or Redactor()
        self._organization = organization
        self._held = ""

    def text(self, text: str) -> str:
        """Return a text without them."""
        return self._redactor.text(text, self._organization)

    def json(self, value: Any) -> Any:
        """Return a JSON value without them."""
        return self._redactor.json(value, self._organization)

    def body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what an attempt's last word says without them; codes and counts are our own words, and stay."""
        if not self._redactor.active:
            return body
        return {key: value if key in _OUR_WORDS else self.json(value) for key, value in body.items()}

    def stream(self, text: str) -> str:
        """Return what of a stream can be shown after its next piece; what may be the beginning of a secret waits."""
        self._held += text
        cut = self._safe_length(self._held)
        shown, self._held = self._held[:cut], self._held[cut:]
        return self.text(shown)

    def rest(self) -> str:
        """Return what waits, when the stream has ended."""
        shown, self._held = self._held, ""
        return self.text(shown)

    def _safe_length(self, text: str) -> int:
        """Return how much of `text` can be looked at alone: no secret begins in it and may end behind it."""
        forms = list(self._redactor.forms(self._organization))
        cut = min((_open_end(text, form) for form in forms), default=len(text))
        while (earlier := min((_begin_across(text, form, cut) for form in forms), default=cut)) < cut:
            cut = earlier
        return cut


def _open_end(text: str, form: str) -> int:
    """Return where in `text` a `form` begins whose end may follow; the length of the text if none does."""
    at = text.find(form[0], max(0, len(text) - len(form) + 1))
    while at >= 0 and not form.startswith(text[at:]):
        at = text.find(form[0], at + 1)
    return at if at >= 0 else len(text)


def _begin_across(text: str, form: str, cut: int) -> int:
    """Return where a whole `form` begins that stands on both sides of `cut`; else `cut`."""
    at = text.find(form, max(0, cut - len(form) + 1), cut + len(form) - 1)
    return at if 0 <= at < cut else cut


def _forms(value: str) -> set[str]:
    """Return a value as it may stand in texts: as it is, in URLs, in JSON, in base64."""
    stripped = value.strip()
    found = {value, stripped, quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe=_URL_SAFE)}
    found |= {
        json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in (value, stripped) for ascii_only in (True, False)
    }
    found |= set(_base64_forms(stripped.encode("utf-8", "surrogatepass")))
    return {form for form in found if len(form) >= _MIN_CHARS}


def _base64_forms(value: bytes) -> Iterator[str]:
    """Return the middle of every base64 text that `value` is a part of, e.g. of user:password."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + value).decode().rstrip("=")
        # The first and last digits also hold bits of what stands beside it.
        middle = text[-(-before * 8 // 6) : -1 if (before + len(value)) % 3 else None]
        yield middle
        yield middle.translate(str.maketrans("+/", "-_"))
