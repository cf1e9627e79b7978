"""Anthropic's Messages API."""

from __future__ import annotations

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider


def build(name: str, key: str, url: str, http: httpx2.AsyncClient) -> Model:
    """Return the model `name` at `url`, without retries of its own."""
    client = AsyncAnthropic(api_key=key, base_url=url, max_retries=0, http_client=http)
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
