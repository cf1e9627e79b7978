"""The graph that the tests run on a real LangGraph server; the prompt says what it does. No model is called."""

# Runs in the venv of tests/frameworks/running.py.
from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


class State(MessagesState, total=False):
    topic: str
    facts: dict[str, Any]


def say(text: str) -> dict[str, Any]:
    """Answer as a model would, with what it used."""
    told = {"model_name": "gpt-4o-mini", "model_provider": "openai"}
    used = {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34}
    return {"messages": [AIMessage(content=text, response_metadata=told, usage_metadata=used)]}


async def read(state: State) -> dict[str, Any]:
    get_stream_writer()("Reading")
    if (text := state["messages"][-1].content).startswith("slow"):
        await asyncio.sleep(float(text.split()[1]))
    return {"facts": {"turns": len(state["messages"])}}


async def write(state: State) -> dict[str, Any]:
    text = str(state["messages"][-1].content)
    if "fail" in text:
        raise ValueError(f"boom {text.removeprefix('fail ')}")
    if "ask twice" in text:
        return say(f"{interrupt({'question': 'First?'})} and {interrupt('Second?')}")
    if "ask" in text:
        return say(f"You said {interrupt({'question': 'Which colour?'})}")
    return say(f"Echo {text}")


graph = StateGraph(State).add_node("read", read).add_node("write", write)
graph.add_edge(START, "read").add_edge("read", "write").add_edge("write", END)
echo = graph.compile()
careful = graph.compile(interrupt_before=["write"])
