"""Report items as JSON text: each is encoded once, and a report is put together from the texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic_core import to_json

from workers.clean import clean_json
from workers.contract import REPORT_KINDS, Json, Lease, ReportItem, ReportKind
from workers.redaction import Veil
from workers.slots import Slots

# Codes, counts and prices, in which nothing that an agent wrote stands.
_OUR_WORDS = frozenset(("error_code", "usage"))
# What nests deeper than `clean_json` allows has at least this many brackets; most text has fewer.
_FEW_BRACKETS = 100


class PackedItem(NamedTuple):
    """A report item as it is sent: `text` is its JSON object, fence included, such as jsonb accepts."""

    kind: ReportKind
    lease: Lease
    text: bytes


def pack(item: ReportItem, veil: Veil | None = None) -> PackedItem:
    """Encode an item, whatever an agent has put into its body; `veil` hides secrets in it."""
    task_id, attempt, lease_token = item.lease
    fence = {"task_id": task_id, "attempt": attempt, "lease_token": lease_token}
    text = encode_json({**fence, **item.body})
    if veil is not None and veil.seen_in(text):
        body = {key: value if key in _OUR_WORDS else veil.json(value) for key, value in item.body.items()}
        text = encode_json({**fence, **body})
    return PackedItem(item.kind, item.lease, text)


def encode_json(value: Json) -> bytes:
    """Return `value` as JSON that jsonb accepts; what it does not accept is replaced as `clean_json` does."""
    try:
        text = to_json(value, inf_nan_mode="null")
    except (ValueError, TypeError, RecursionError):
        return to_json(clean_json(value))
    if b"\\u0000" in text or text.count(b"[") + text.count(b"{") > _FEW_BRACKETS:
        return to_json(clean_json(value))
    return text


def build_report(items: Iterable[PackedItem], slots: Slots | None = None) -> bytes:
    """Return the report of an exchange as JSON: one list per kind, only the kinds there are, each in order.

    `understands` names the outcomes that workers of the first version did not know; `slots` goes with a claim.
    """
    lists: dict[ReportKind, list[bytes]] = {}
    for item in items:
        lists.setdefault(item.kind, []).append(item.text)
    parts = [b'"%s":[%s]' % (kind.encode(), b",".join(lists[kind])) for kind in REPORT_KINDS if kind in lists]
    if slots is not None:
        parts.append(b'"slots":%s' % encode_json(slots.to_json()))
    parts.append(b'"understands":["busy"]')
    return b"{%s}" % b",".join(parts)


def pack_steps(lease: Lease, steps: Iterable[bytes]) -> PackedItem:
    """Return the item that carries encoded steps of a run that goes on."""
    return with_steps(pack(ReportItem("steps", lease)), steps)


def with_steps(item: PackedItem, steps: Iterable[bytes]) -> PackedItem:
    """Return an item that carries encoded steps too."""
    return item._replace(text=b'%s,"steps":[%s]}' % (item.text[:-1], b",".join(steps)))


class Packer:
    """Collects items up to a number and a size in bytes; the first item always fits."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._room = max_bytes
        self.items: list[PackedItem] = []
        self.full = max_items <= 0

    def add(self, item: PackedItem) -> bool:
        """Take the item if there is room."""
        if self.full or len(self.items) >= self._max_items or (self.items and len(item.text) > self._room):
            self.full = True
            return False
        self.items.append(item)
        self._room -= len(item.text)
        return True

    def add_all(self, items: Sequence[PackedItem]) -> int:
        """Take items in order as long as there is room; return how many."""
        for number, item in enumerate(items):
            if not self.add(item):
                return number
        return len(items)
