"""The ranker's model card, in the form of the other models' (card.py)."""

from typing import Final

from firstmile.clock import iso
from training.card import figures_table, groups_table, written
from training.findings import Findings
from training.labels_file import About
from training.plan import Plan
from training.ranker import N_ROUNDS, Ranker
from training.ranker_examine import BASELINES, NDCG
from training.ranking_set import EVALUATED_DAYS, MODEL, SNAPSHOT_DAYS, RankingSet

SHOWN: Final = ("n", NDCG, *(f"{NDCG}_{name}" for name in BASELINES), *(f"gain_over_{name}" for name in BASELINES))
LIMITS: Final = f"""\
- Learned from one distance-learning university, 2013 and 2014, whose pages nobody had put in an order: what was opened
  is what users found themselves, not what they would open if it were shown first.
- Younger onboardings than day {min(SNAPSHOT_DAYS)} were not learned from: rules answer there.
- Scores are compared within one answer only; they are no probabilities.
- For choosing what to show first. Not for marking, admitting, pricing or excluding anybody."""


def ranker_card(
    data: RankingSet, ranker: Ranker, findings: Findings, *, judged_by: str, plan: Plan, about: About
) -> str:
    """Markdown for people."""
    said = data.description()
    asked = "Which of the items of their shelf that the user has not opened will they open in the next 7 days?"
    return written(
        {
            f"Model card: {MODEL}": asked,
            "Data": f"{said['n_users']} users of {', '.join(said['cohorts'])}, {said['n_groups']} groups at "
            f"the ends of days {', '.join(map(str, SNAPSHOT_DAYS))}, {said['n_rows']} candidates, "
            f"{said['n_openings']} opened and {said['n_lost']} more that were no candidates; {said['from']} to "
            f"{said['to']}. Labels known until {iso(data.trained_until_us())}. {len(ranker.features)} features of the "
            f"item, the user and both. {about.citation}".rstrip(),
            "Model": f"XGBoost, LambdaMART, {N_ROUNDS} rounds. Why it was made: {plan.because}.",
            f"Figures ({judged_by}, users not seen)": "Means over users who opened something, on days "
            f"{', '.join(map(str, EVALUATED_DAYS))}. {figures_table(findings.figures[judged_by], SHOWN)}",
            "Groups": groups_table(findings),
            "Limits": LIMITS,
        }
    )
