"""A real crew with a scripted model behind CrewAI's API: POST /kickoff, GET /status/{kickoff_id}, POST /resume.

Runs in a Python that has crewai: crew.py PORT. One execution runs at a time.
"""

from __future__ import annotations

import builtins
import json
import queue
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task

executions: dict[str, dict[str, Any]] = {}
answers: queue.Queue[dict[str, Any]] = queue.Queue()
running = threading.Lock()


class Scripted(BaseLLM):
    """Answers by what it is asked for last; `said` is what it said last."""

    said: str = ""

    def call(self, messages: Any, *_: Any, **__: Any) -> str:
        text = messages if isinstance(messages, str) else "\n".join(str(one["content"]) for one in messages)
        topic = text.split("Research <")[-1].split(">")[0]
        if topic.startswith("fail"):
            raise RuntimeError("boom")
        feedback = " Cite sources." if "Cite sources." in text else ""
        self.said = f"Facts about {topic}{feedback}"
        self._track_token_usage_internal({"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34})
        return f"Thought: I now can give a great answer\nFinal Answer: {self.said}"

    def supports_function_calling(self) -> bool:
        return False


def run(kickoff_id: str, inputs: dict[str, Any]) -> None:
    execution = executions[kickoff_id]
    model = Scripted(model="scripted")
    researcher = Agent(role="Researcher", goal="Know tides", backstory="-", llm=model, allow_delegation=False)
    task = Task(
        name="research", description="Research <{topic}>", expected_output="Facts", agent=researcher,
        human_input=str(inputs.get("topic", "")).startswith("ask"),
    )  # fmt: skip

    def ask(_prompt: str = "") -> str:
        execution.update(status="pending_human_input", current_task="research", output=model.said)
        answer = answers.get()
        execution.update(status="running", output=None)
        return "" if answer["is_approve"] else str(answer["human_feedback"])

    with running:
        execution.update(status="running", current_task="research", progress={"completed_tasks": 0, "total_tasks": 1})
        builtins.input = ask
        try:
            made = Crew(agents=[researcher], tasks=[task], verbose=False).kickoff(inputs=inputs)
        except Exception as error:
            execution.update(status="error", error=str(error))
            return
    tasks = [{"task_id": one.name, "output": one.raw, "agent": one.agent} for one in made.tasks_output]
    used = {**made.token_usage.model_dump(), "model": "scripted"}
    execution.update(status="completed", result={"output": made.raw, "tasks": tasks}, token_usage=used)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/kickoff":
            kickoff_id = str(uuid.uuid4())
            executions[kickoff_id] = {"status": "queued"}
            threading.Thread(target=run, args=(kickoff_id, body["inputs"]), daemon=True).start()
            self.reply(200, {"kickoff_id": kickoff_id})
        elif executions.get(body["execution_id"], {}).get("status") == "pending_human_input":
            executions[body["execution_id"]]["status"] = "running"
            answers.put(body)
            self.reply(200, {"status": "resumed", "message": "Execution resumed successfully"})
        else:
            self.reply(400, {"error": "Invalid Request", "message": "Execution is not in pending human input state"})

    def do_GET(self) -> None:
        found = {"ok": True} if self.path == "/inputs" else executions.get(self.path.removeprefix("/status/"))
        self.reply(200 if found else 404, found or {"error": "Execution not found"})

    def reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
