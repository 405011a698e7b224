"""The gates put to one registered version: what its run logged, and the champion it would replace."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mlflow.tracking import MlflowClient
from rich.table import Table

from firstmile.errors import DataError
from firstmile.names import CHAMPION, RANKER
from training.arrays import FloatArray
from training.bootstrap import difference_low
from training.dataset import TrainingSet
from training.examine import examine
from training.experiment_gate import TAG, experiment_gate
from training.figures import figures_of
from training.gates import (
    Comparison,
    Verdict,
    cost_gate,
    ece_gate,
    first_gate,
    gap_gate,
    no_comparison,
    not_worse_gate,
)
from training.models import Fitter
from training.ranker_compare import compare_rankers
from training.ranker_gate import ranker_gate
from training.split import judged_by
from training.tracking import aliases
from training.versions import Version, read_examined, read_fitted, read_people, read_set, read_version


@dataclass(frozen=True)
class Judged:
    """A version and what the gates say of it.

    against
        The champion's version it was compared with, None without one or when it is champion itself.
    """

    model: str
    version: str
    judged_by: str
    against: str | None
    verdicts: list[Verdict]

    def document(self) -> dict[str, Any]:
        """For MLflow and for the verb's answer."""
        return {
            "model": self.model,
            "version": self.version,
            "judged_by": self.judged_by,
            "against": self.against,
            "verdicts": [asdict(v) for v in self.verdicts],
        }


def judge_version(client: MlflowClient, model: str, version: str, *, n_decisions: int | None = None) -> Judged:
    """All verdicts on a version, logged with its run as gates.json.

    n_decisions
        How many it took part in, if that is known: see experiment_gate.py.

    Raises DataError when the version is not there.
    """
    challenger = read_version(client, model, version)
    judge = challenger.tags.get("judged_by", "")
    figures = figures_of(challenger.metrics, judge)
    days = challenger.task.evaluated_days
    own = ranker_gate(figures) if model == RANKER else [*first_gate(days, figures), ece_gate(days, figures)]
    live = experiment_gate(challenger.tags.get(TAG), n_decisions)
    verdicts = [*([live] if live else []), *own, *cost_gate(challenger.metrics)]
    name = aliases(client, model).get(CHAMPION)
    against = None if name in (None, version) else name
    if against is not None:
        try:
            champion = read_version(client, model, against)
            beside = compare_rankers if model == RANKER else compare
            verdicts.append(not_worse_gate(beside(client, challenger, champion)))
            verdicts.append(gap_gate(days, figures, figures_of(champion.metrics, champion.tags.get("judged_by", ""))))
        except DataError as error:  # a refusal, so that training is not lost with the old champion's papers
            verdicts.append(no_comparison(model, against, str(error)))
    judged = Judged(model, version, judge, against, verdicts)
    client.log_dict(challenger.run_id, judged.document(), "gates.json")
    return judged


def compare(client: MlflowClient, challenger: Version, champion: Version) -> Comparison:
    """Challenger − champion AUC on the challenger's examined rows, paired.

    On starts after the champion's last label the champion answers itself, people it had learned from left out. Where
    there are none its recipe is put to the challenger's own examination, on the challenger's set.
    """
    data = read_set(client, challenger)
    rows, p = read_examined(client, challenger)
    users = data.users.iloc[rows]
    kept = users["judged_label"].to_numpy(np.int64) >= 0
    kept &= users["day"].isin(data.task.evaluated_days).to_numpy(bool)
    if (data.began_us()[rows] > champion.trained_until_us).all():
        kept &= ~users["person"].isin(list(read_people(client, champion))).to_numpy(bool)
        starts = ", ".join(sorted(set(users["cohort"])))
        how = f"data after both: {users['user_id'][kept].nunique()} users of {starts} whom neither had seen"
        other = read_fitted(champion).by_name(data.rows.x[rows], data.features)
    else:
        other, how = _refitted(data, p, challenger, champion)
    if not kept.any():
        raise DataError("of those examined nobody is left whom neither had learned from, with a label on a judged day")
    users, p, other = users[kept], p[kept], other[kept]
    cells = (users["cohort"] + "/" + users["day"].astype(str)).to_numpy(str)
    found = difference_low(
        users["judged_label"].to_numpy(np.int64),
        p,
        other,
        cells=cells,
        users=users["user_id"].to_numpy(str),
        seed=int(challenger.params["seed"]),
    )
    return Comparison(champion.version, how, found["difference"], found["low"], found["high"])


def _refitted(data: TrainingSet, p: FloatArray, challenger: Version, champion: Version) -> tuple[FloatArray, str]:
    """The champion's recipe in the challenger's examination, and the words for it."""
    fitter = Fitter(data.model, data.features, int(challenger.params["seed"]))
    known = champion.params.get("recipe", "of before they had names")
    if known != fitter.recipe:
        raise DataError(f"there is no data after both, and its recipe ({known}) cannot be fitted again by this code")
    why = "no data after both, so the champion's recipe was refitted on the challenger's window"
    asked, others = (fitter.with_parameters(version.params) for version in (challenger, champion))
    changed = {name: v for name, v in others.parameters().items() if v != asked.parameters()[name]}
    own, other = (version.params.get("reweighed", "") for version in (challenger, champion))
    if not changed and own == other:
        return p, f"{why}: its XGBoost parameters are the challenger's own, so its answers are too"
    why += f", without its reweighing by {other}" if other else ""
    examination = judged_by(sorted(set(data.users["cohort"])))
    named = ", ".join(f"{name} {value}" for name, value in changed.items()) or "weights as they are"
    return examine(data, others, threads=2)[examination].p, f"{why}: {named}"


def gate_table(judged: Judged) -> Table:
    """The verdicts as a table for people."""
    against = f", against champion {judged.against}" if judged.against else ""
    title = f"{judged.model} {judged.version}, judged by {judged.judged_by or 'nothing'}{against}"
    table = Table(title=title, title_justify="left")
    for heading in ("gate", "verdict", "reason"):
        table.add_column(heading)
    for v in judged.verdicts:
        verdict = "[green]passed[/]" if v.passed else "[red]refused[/]"
        table.add_row(v.gate, verdict, v.reason)
    return table
