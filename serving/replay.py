"""`firstmile decide --replay REQUEST_ID`: a decision made again from its record, and whether it comes out the same.

    decision log ─► record ─► same model versions over the recorded vector ─► predictions ─┐
                          └─► facts that rules and ranking used ──────────────────────────┴─► policy ─► compared

An answer from memory (rung `cached`) takes the record's predictions: its vector was an earlier answer's. So does the
order of the ranker, or of what is popular: it is made of statistics that have moved on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from firstmile.cli import emit
from firstmile.clock import SystemClock
from firstmile.errors import DataError
from firstmile.settings import Settings, load_settings
from firstmile.wire import Record
from serving.evidence import facts_of
from serving.models import Question, Scores, ScoringModel, score
from serving.playbook import PlaybookFiles
from serving.policy import Answer, Policy
from serving.policy_fields import FIELDS
from serving.replay_log import find_decision
from serving.replay_models import past_models

TOLERANCE: Final = 1e-6
FILES: Final = {"rules": "rules.yaml", "content": "content.yaml (or the data it names)"}


def run(request_id: str) -> None:
    """Print what came out; exit 1 when it is not what was answered then."""
    found = replay(load_settings(), request_id)
    emit(found)
    if not found["same"]:
        raise typer.Exit(1)


def replay(settings: Settings, request_id: str) -> dict[str, Any]:
    """The verdict on one request.

    Raises DataError when the log does not hold it or it was written before records could be replayed, DependencyError
    when Kafka, the registry or MLflow is needed and away.
    """
    record = find_decision(settings, request_id)
    if not record.get("limit"):
        raise DataError(
            f"the decision {request_id} was logged before records held what a replay needs; replay a later one"
        )
    policy = PlaybookFiles(settings.product, FIELDS, SystemClock()).current.policy
    is_scored = bool(record["features"])
    models, places = past_models(settings, record["models"] if is_scored else {})
    predictions = repredicted(models, record) if is_scored else dict(record["predictions"])
    answer = answered_again(record, policy, predictions)
    differs = differences(record, answer, predictions)
    return {
        "request_id": request_id,
        "same": not differs,
        "differs": differs,
        "why": reasons(record, policy, differs) if differs else [],
        "user_id": record["user_id"],
        "decided_at": record["decided_at"],
        "rung": record["rung"],
        "arm": record["arm"],
        "models": {name: {"version": v, "from": places.get(name, "record")} for name, v in record["models"].items()},
        "versions": {name: {"was": was, "now": policy.versions.get(name)} for name, was in record["versions"].items()},
    }


def repredicted(models: Sequence[ScoringModel], record: Record) -> dict[str, float]:
    """What the models say to the record's vector. Raises DataError when one cannot be asked."""
    scores = score(Question(models, record["features"], Scores()))
    if scores.failed:
        raise DataError(f"{', '.join(scores.failed)} cannot score the vector of {record['request_id']} any more")
    return scores.probabilities


def answered_again(record: Record, policy: Policy, predictions: Mapping[str, float]) -> Answer:
    """The policy's answer to the record's facts."""
    if record["rung"] == "default":
        return policy.default(limit=record["limit"])
    return policy.answer(facts_of(record, policy, predictions), limit=record["limit"])


def differences(record: Record, answer: Answer, predictions: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """What was answered and what is, by field, where the two are not the same."""
    now = {
        "segment": {name: str(value) for name, value in answer.segment.as_fields().items()},
        "flow": answer.flow,
        "ranking": [item.content.content_id for item in answer.items],
        "item_scores": [item.score for item in answer.items],
        "item_reasons": [item.reason for item in answer.items],
    }
    found = {name: {"was": record[name], "now": value} for name, value in now.items() if record[name] != value}
    was = record["predictions"]
    for name in sorted(was.keys() | predictions.keys()):
        before, after = was.get(name), predictions.get(name)
        if before is None or after is None or abs(before - after) > TOLERANCE:
            found[f"predictions.{name}"] = {"was": before, "now": after}
    return found


def reasons(record: Record, policy: Policy, differs: Mapping[str, Any]) -> list[str]:
    """Why a decision comes out differently, as far as the record tells."""
    found = [
        f"{FILES.get(name, name)} has changed since: its hash was {was}, is {policy.versions.get(name)}"
        for name, was in record["versions"].items()
        if policy.versions.get(name) != was
    ]
    scored = sorted({field.removeprefix("predictions.").partition(":")[0] for field in differs if "." in field})
    found += [
        f"{name}, version {record['models'].get(name)}, does not say what it said: another MLflow's version of this "
        "number, or another version of XGBoost"
        for name in scored
    ]
    return found or ["rules, content and models are the same: this code decides otherwise than the one that answered"]
