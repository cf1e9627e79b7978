"""Turns what model calls reported into a row of the ledger and into `llm_metadata.usage`."""

from __future__ import annotations

from typing import Any

import genai_prices
from pydantic_ai.usage import RunUsage

from workers.ledger import UsageRow

PRICE_VERSION = f"genai-prices/{genai_prices.__version__}"


def has_price(provider: str, model: str) -> bool:
    """Whether the price of a model is known."""
    return _price(provider, model, RunUsage(input_tokens=1, output_tokens=1)) is not None


def price_usage(provider: str, model: str, usage: RunUsage) -> tuple[UsageRow, list[str]]:
    """Return the ledger row for `usage` with its price in US dollars, and the warnings about it.

    A model whose price is not known keeps its tokens; its cost is None and a warning says so.
    """
    warnings = []
    measured = usage.input_tokens > 0 or usage.output_tokens > 0
    cost = _price(provider, model, usage)
    if cost is None:
        warnings.append(f"No price is known for {provider} {model}: its cost is not counted.")
    if usage.unmeasured_requests or not measured:
        warnings.append("The provider did not report what the call used: the tokens are a lower bound.")
    row = UsageRow(
        provider=provider,
        model=model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        cost=cost if measured else None,
        price_version=PRICE_VERSION if measured and cost is not None else None,
    )
    return row, warnings


def usage_metadata(row: UsageRow) -> dict[str, Any]:
    """Return the row as `llm_metadata.usage`."""
    return {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "total_tokens": row.input_tokens + row.output_tokens,
        "cost": row.cost,
    }


def _price(provider: str, model: str, usage: RunUsage) -> float | None:
    """Return what `usage` costs in US dollars; None when no price is known, or the counts make no sense."""
    try:
        return float(genai_prices.calc_price(usage, model, provider_id=provider).total_price)
    except (LookupError, ValueError):
        return None
