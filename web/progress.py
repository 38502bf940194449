"""Running tasks with their progress, as the workers last wrote it."""

from collections.abc import Sequence

from farm.reports.shapes import TaskReport
from web.services import services


def with_progress(tasks: Sequence[TaskReport]) -> list[TaskReport]:
    """The tasks, with the progress of those running whose worker wrote some for the current attempt."""
    running = {task.id: task for task in tasks if task.status == "running"}
    written = services().progress.read(running)
    known = {
        task_id: progress.fraction
        for task_id, progress in written.items()
        if progress.attempt == running[task_id].attempt
    }
    return [task.model_copy(update={"progress": known.get(task.id)}) for task in tasks]
