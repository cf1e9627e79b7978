"""A project as it should be, in plain Python: what each act does to its steps, and how the project ends.

The database is free to choose which ready steps a claim gives; everything else is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OVER = {"completed", "failed", "skipped", "cancelled"}


@dataclass
class Step:
    """One step: what it waits for, and whether the project goes on when it fails."""

    id: str
    dependencies: frozenset[str]
    goes_on: bool
    asks: bool = False
    status: str = "pending"
    is_passed: bool = False

    @property
    def frees(self) -> bool:
        """Whether those that depend on it need not wait for it any more."""
        return self.status in {"completed", "skipped"} or (self.status == "failed" and self.goes_on)

    @property
    def stops(self) -> bool:
        return self.status == "failed" and not self.goes_on


@dataclass
class Project:
    """Steps by id, and the state of the whole."""

    steps: dict[str, Step]
    status: str = "planning"
    completions: dict[str, int] = field(default_factory=dict)

    # What a person does ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.status = "running"
        self.move_on()

    def pause(self) -> None:
        self.status = "paused"

    def resume(self) -> None:
        for step in self.steps.values():
            step.status = "ready" if step.stops else step.status
        self.status = "running"
        self.move_on()

    def cancel(self) -> None:
        for step in self.steps.values():
            step.status = step.status if step.status in OVER else "cancelled"
        self.status = "cancelled"

    def skip(self, step: Step) -> None:
        step.status = "skipped"
        self.end(step)
        self.go_on_without_failures()

    def retry(self, step: Step) -> None:
        step.status = "ready"
        self.go_on_without_failures()

    def go_on_without_failures(self) -> None:
        if self.status == "failed" and not any(s.stops for s in self.steps.values()):
            self.status = "running"
            self.move_on()

    # What a worker does ---------------------------------------------------------------------------------------------

    def claimable(self) -> set[str]:
        ready = {s.id for s in self.steps.values() if s.status == "ready" and not s.asks}
        return ready if self.status == "running" else set()

    def claim(self, step: Step) -> None:
        step.status = "in_progress"

    def complete(self, step: Step) -> None:
        self.completions[step.id] = self.completions.get(step.id, 0) + 1
        step.status = "completed"
        self.end(step)

    def fail(self, step: Step) -> None:
        step.status = "failed"
        if step.stops and self.status in {"running", "paused"}:
            self.status = "failed"
        self.end(step)

    # What follows ---------------------------------------------------------------------------------------------------

    def end(self, step: Step) -> None:
        """Let those that waited for a step go on, when it is over in a way that frees them."""
        step.is_passed = step.frees
        self.move_on()

    def move_on(self) -> None:
        if self.status == "planning":
            return
        for step in self.steps.values():
            if step.status == "pending" and all(self.steps[d].frees for d in step.dependencies):
                step.status = "ready"
        if self.status in {"running", "paused"} and all(s.frees for s in self.steps.values()):
            self.status = "completed"
        if self.status == "running":
            for step in self.steps.values():
                step.status = "awaiting_input" if step.asks and step.status == "ready" else step.status

    @property
    def numbers(self) -> dict[str, int]:
        """total_steps, completed_steps, finished_steps and failed_steps as the project keeps them."""
        steps = self.steps.values()
        return {
            "total_steps": len(steps),
            "completed_steps": sum(s.status == "completed" for s in steps),
            "finished_steps": sum(s.frees for s in steps),
            "failed_steps": sum(s.stops for s in steps),
        }
