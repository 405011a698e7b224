"""The model card: what a version is, what it was seen to do and for whom, and what it must not be used for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from firstmile.clock import iso
from firstmile.vocabulary import AUDIT_ATTRIBUTES
from training.dataset import TrainingSet
from training.figures import ENDS, DayFigures, Figures, interval_text
from training.findings import Findings
from training.labels_file import About
from training.models import Fitted
from training.plan import Plan

LIMITS: Final = """\
- Younger onboardings than day {first} were not learned from: rules answer there.
- For choosing what to show first. Not for marking, admitting, pricing or excluding anybody.
- The probability is of what happens without a change of what is shown; it is no effect of showing something."""
SHOWN: Final = ("n", "base_rate", "auc", "log_loss", "log_loss_majority", "brier", "ece", "accuracy")


def model_card(
    data: TrainingSet, fitted: Fitted, findings: Findings, *, judged_by: str, about: About, plan: Plan
) -> str:
    """Markdown for people."""
    weighing = f"; every group of {plan.reweigh} and label weighs evenly" if plan.reweigh else ""
    said, task = data.description(), data.task
    limits = about.limits + LIMITS.format(first=min(task.snapshot_days))
    sections = {
        f"Model card: {data.model}": f"{task.question} Classes: {', '.join(task.classes)}.",
        "Data": f"{said['n_users']} users of {', '.join(said['cohorts'])}, {said['n_rows']} rows at the ends "
        f"of days {', '.join(map(str, task.snapshot_days))}, {said['from']} to {said['to']}. Labels known until "
        f"{iso(data.trained_until_us())}. {len(data.features)} features of activity and study history."
        + (f" {about.citation}" if about.citation else ""),
        "Model": f"XGBoost, {fitted.booster.num_boosted_rounds()} rounds; calibration: {fitted.calibration.method}"
        f"{weighing}. Why it was made: {plan.because}.",
        f"Figures ({judged_by}, users not seen)": figures_table(findings.figures[judged_by], SHOWN),
        "Groups": groups_table(findings),
        "Limits": limits,
    }
    return written(sections)


def written(sections: Mapping[str, str]) -> str:
    """Markdown of a card: its sections by heading, the first one its title."""
    texts = (f"{'#' if i == 0 else '##'} {name}\n\n{text}" for i, (name, text) in enumerate(sections.items()))
    return "\n\n".join(texts) + "\n"


def figures_table(by_day: DayFigures, shown: Sequence[str]) -> str:
    """The chosen figures of each day, with their intervals."""
    rows = [[str(day), *(_cell(f, name) for name in shown)] for day, f in by_day.items()]
    return f"In brackets 95 % by bootstrap over users.\n\n{_table(['day', *shown], rows)}"


def groups_table(findings: Findings) -> str:
    """Gaps between groups by day and attribute; which groups were too small to measure."""
    text = (
        f"Audited: {', '.join(AUDIT_ATTRIBUTES) or 'nothing'}; none of them is a feature. Greatest minus least over "
        "the groups that are large enough, in brackets 95 %; every group's figures are in slices.json."
    )
    rows: list[list[str]] = []
    for day, cut in findings.groups.items():
        for attribute, found in cut.items():
            of, names = found["gaps"], [name for name in found["gaps"] if not name.endswith(ENDS)]
            gaps = ", ".join(f"{n} {of[n]:.3f}{interval_text(of, n)}" for n in names) or "one group only"
            rows.append([str(day), attribute, gaps, _small(found["too_small"])])
    return f"{text}\n\n" + _table(["day", "attribute", "gaps", "too small to measure"], rows)


def _cell(figures: Figures, name: str) -> str:
    value = f"{figures[name]:.0f}" if name == "n" else f"{figures[name]:.3f}"
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    return value if low is None or high is None else f"{value} [{low:.3f}, {high:.3f}]"


def _small(groups: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in groups.items()) or "none"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
