"""The kinds of model, one file each, and which is which."""

from charlm.training.kinds import TaskName
from charlm.training.request import Request
from charlm.training.task import AnyTask
from charlm.training.tasks.bidirectional import Bidirectional
from charlm.training.tasks.causal import Causal
from charlm.training.tasks.classifier import Classifier
from charlm.training.tasks.pairs import Pairs
from charlm.training.tasks.tagger import Tagger

TASKS: dict[TaskName, AnyTask] = {
    task.name: task for task in (Causal(), Bidirectional(), Classifier(), Tagger(), Pairs())
}


def task_of(request: Request) -> AnyTask:
    """The task of a request, which is checked. Raises UsageError for what cannot be."""
    task = TASKS[request.task]
    request.refuse(task.declared.lacks)
    task.check(request)
    return task
