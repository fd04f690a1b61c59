"""One file per learning task: what its labels are, and how its models predict and are scored."""

from __future__ import annotations

from stream_app.errors import DeclarationError
from stream_app.learning.tasks.binary import Binary
from stream_app.learning.tasks.multiclass import Multiclass
from stream_app.learning.tasks.regression import Regression
from stream_app.learning.tasks.task import Predictor, Task, TaskFields

TASKS: dict[str, type[Task]] = {task.name: task for task in (Binary, Multiclass, Regression)}

__all__ = ["TASKS", "Binary", "Multiclass", "Predictor", "Regression", "Task", "TaskFields", "load"]


def load(fields: TaskFields) -> Task:
    """Return the task that `fields` (as `Task.fields` gave them) stand for."""
    name = fields.get("task")
    if name not in TASKS:
        raise DeclarationError(
            f"task: {name!r} is no task", attempt=f"one of {', '.join(sorted(TASKS))}"
        )
    rest = {key: value for key, value in fields.items() if key != "task"}
    return TASKS[name](**rest)
