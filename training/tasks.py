"""The tasks of the product this process serves, by model, as its labels.yaml has them; none without the file."""

from collections.abc import Mapping
from typing import Final

from firstmile.product import current_product, product_file
from training.labels_file import read_labels, task_of
from training.task import Task


def _tasks() -> dict[str, Task]:
    path = product_file(current_product(), "labels")
    return {model: task_of(spec) for model, spec in read_labels(path)[1].specs.items()} if path.exists() else {}


TASKS: Final[Mapping[str, Task]] = _tasks()
