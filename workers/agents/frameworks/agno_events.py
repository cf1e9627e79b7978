"""What a run of an AgentOS says while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.agents.external.wire import quote
from workers.agents.frameworks.outcome import Bill
from workers.agents.frameworks.visit import Visit

# Events that are a run's last, by their names without who says it, and the status that the run has then.
ENDED: Mapping[str, str] = {
    "RunCompleted": "COMPLETED",
    "RunPaused": "PAUSED",
    "RunCancelled": "CANCELLED",
    "RunError": "ERROR",
}
_WHO = ("Team", "Workflow")


class Heard:
    """Takes in the events of one run and passes them on; `seen` is the index of the last one that has an index."""

    def __init__(self, visit: Visit, kind: str) -> None:
        self._visit = visit
        self._prefix = {"agents": "", "teams": "Team", "workflows": "Workflow"}[kind]
        self.session_id = ""
        self.run_id: str | None = None
        self.seen = -1
        self.end: dict[str, Any] | None = None
        self.bill = Bill()

    def name_of(self, event: Mapping[str, Any]) -> str:
        """Return what an event is called for a run of an agent: `RunCompleted` for `WorkflowCompleted`."""
        name = str(event.get("event") or "")
        if self._prefix and name.startswith(self._prefix):
            name = name.removeprefix(self._prefix)
            return name if name.startswith("Run") else f"Run{name}"
        return name

    async def take(self, event: dict[str, Any]) -> None:
        """Take in one event of the stream."""
        name = str(event.get("event") or "")
        if isinstance(index := event.get("event_index"), int):
            self.seen = max(self.seen, index)
        if name.removeprefix("Team") == "ModelRequestCompleted":
            self._bill(event)
        elif name.removeprefix("Team") == "ToolCallCompleted":
            tool = event.get("tool")
            self._visit.step(f"Tool {tool.get('tool_name') if isinstance(tool, dict) else ''} done", _from(event))
        elif name == "StepCompleted":
            self._visit.step(f"Step {event.get('step_name')} done", _from(event))
        else:
            await self._own(event)

    async def _own(self, event: dict[str, Any]) -> None:
        """Take in what the run itself says; members of a team and steps of a workflow have runs of their own."""
        name, run_id = self.name_of(event), event.get("run_id")
        begins = event.get("event") in {f"{self._prefix}RunStarted", f"{self._prefix}Started"}
        if self.run_id is None and begins:
            self.run_id = await self._visit.keep(run_id, self.session_id)
        content = event.get("content")
        if name == "RunContent" and isinstance(content, str) and (run_id == self.run_id or self._prefix == "Workflow"):
            self._visit.stream(content)
        elif name in ENDED and run_id == self.run_id and self._is_ours(event):
            self.end = event

    def _is_ours(self, event: Mapping[str, Any]) -> bool:
        return str(event.get("event")).startswith(self._prefix or "Run")

    def bill_whole(self, end: Mapping[str, Any]) -> None:
        """Count what the whole run used, when its single calls were not heard."""
        metrics = end.get("metrics")
        if self.bill.rows or not isinstance(metrics, dict):
            return
        details = metrics.get("details")
        groups = details.values() if isinstance(details, dict) else ()
        models = [model for group in groups if isinstance(group, list) for model in group if isinstance(model, dict)]
        for model in models or [{**metrics, "id": end.get("model"), "provider": end.get("model_provider")}]:
            self.bill.add(model.get("provider"), model.get("id"), _counts(model), cost=model.get("cost"))

    def _bill(self, event: Mapping[str, Any]) -> None:
        self.bill.add(event.get("model_provider"), event.get("model"), _counts(event), cost=event.get("cost"))


def _counts(told: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return told.get("input_tokens"), told.get("output_tokens"), told.get("cache_read_tokens")


def _from(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("agent_name", "team_name", "step_name")
    return {name: quote(event[name], 200) for name in names if isinstance(event.get(name), str) and event[name]}
