"""What model calls cost, as the database's ledger wants it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one model call used; `cost` is in US dollars, None when the price is not known."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cost: float | None = None
    price_version: str | None = None
