"""What training reads of a product: what each model learns to say."""

from typing import Any

from firstmile.settings import Settings
from training.labels_events import check_names
from training.labels_file import has_labels, read_labels, task_of
from training.material import source_of


def check(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    """The question each model answers, and the days it is judged on; {} without labels.yaml.

    Raises FileError for a mistake in labels.yaml, an event that nobody maps, or a source that is not there.
    """
    if not has_labels(settings):
        return {"learns": {}}
    document, file = read_labels(settings.product_file("labels"))
    known = [*found["not_counted"], *(name for names in found["events"].values() for name in names)]
    if source_of(document, file) is None:
        check_names(document, file, sorted(known))
    tasks = {model: task_of(spec) for model, spec in file.specs.items()}
    return {"learns": {m: {"question": t.question, "judged_on_days": list(t.evaluated_days)} for m, t in tasks.items()}}
