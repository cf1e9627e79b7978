"""OpenAI's Chat Completions API, which most gateways speak too."""

from __future__ import annotations

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

# A stream that ends without saying why was cut off; it must not pass for an answer.
WHOLE_ANSWERS = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)


def build(name: str, key: str, url: str, http: httpx2.AsyncClient) -> Model:
    """Return the model `name` at `url`, without retries of its own."""
    client = AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=http)
    return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client), profile=WHOLE_ANSWERS)
