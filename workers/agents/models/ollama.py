"""Ollama, through its OpenAI-compatible API."""

from __future__ import annotations

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.providers.ollama import OllamaProvider

from workers.agents.models.openai import WHOLE_ANSWERS


def build(name: str, key: str, url: str, http: httpx2.AsyncClient) -> Model:
    """Return the model `name` at `url`, without retries of its own."""
    client = AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=http)
    return OllamaModel(name, provider=OllamaProvider(openai_client=client), profile=WHOLE_ANSWERS)
