"""The proof of the demo: every hop with a number that was read where the hop ends, not where it began."""

from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow.parquet as pq
import redis

from examples.oulad.demo.learners import Asked, Expected
from examples.oulad.demo.runner import Runner
from firstmile.local.http import http_json
from firstmile.local.lag import end_offsets, stream_lag
from firstmile.names import CHAMPION, DEAD_LETTERS, DECISIONS, ENRICHED, STREAM_TOPICS
from firstmile.settings import PARTS, Settings
from firstmile.vocabulary import MODELS

Hop = dict[str, Any]
BACKFILL_NUMBERS = ("presentations", "n_events", "n_history_rows", "click_events", "click_weight")


@dataclass(frozen=True)
class Prover:
    """Reads the numbers from Kafka, Redis, MLflow and the folders."""

    runner: Runner

    @property
    def settings(self) -> Settings:
        """The demo's."""
        return self.runner.settings

    def stack(self) -> Hop:
        """The four parts are up."""
        return {"ok": True, "parts": list(PARTS), "took_s": max(self.runner.took_s[p] for p in PARTS)}

    def topics(self) -> Hop:
        """Topics and schemas are there."""
        found = self.runner.results["topics"]
        n_topics, n_schemas = len(found["topics"]), len(found["schema_ids"])
        return {"ok": n_topics == n_schemas > 0, "n_topics": n_topics, "n_schemas": n_schemas, **self._took("topics")}

    def backfill(self) -> Hop:
        """History was folded from files."""
        found = self.runner.results["backfill"]
        numbers = {
            key: found[key] for key in ("presentations", "n_events", "n_history_rows", "click_events", "click_weight")
        }
        return {"ok": found["n_history_rows"] > 0, **numbers, **self._took("backfill")}

    def profiles(self) -> Hop:
        """The learners' profiles were imported, their audit attributes kept apart."""
        found = self.runner.results["profiles"]
        numbers = {key: found[key] for key in ("profiles", "audit_rows", "n_bad")}
        return {"ok": found["profiles"] > 0 and found["n_bad"] == 0, **numbers, **self._took("profiles")}

    def produced(self) -> Hop:
        """Kafka holds, per topic, at least what the replay sent."""
        sent, ends = self.runner.results["replay"]["records"], end_offsets(self.settings, STREAM_TOPICS)
        is_ok = all(sent[topic] > 0 for topic in STREAM_TOPICS) and all(ends[t] >= n for t, n in sent.items())
        return {"ok": is_ok, "sent_by_replay": sent, "in_kafka": ends, **self._took("replay")}

    def decoded(self) -> Hop:
        """The stream has read all of it; what it could not decode lies in dead letters."""
        lag = stream_lag(self.settings) or []
        n_read = sum(p.next_offset for p in lag)
        n_dead = sum(end_offsets(self.settings, [DEAD_LETTERS]).values())
        n_behind = sum(p.n_behind for p in lag)
        n_in_kafka = sum(end_offsets(self.settings, STREAM_TOPICS).values())
        is_ok = n_read == n_in_kafka > 0 and n_dead == 0
        return {
            "ok": is_ok,
            "n_read": n_read,
            "n_decoded": n_read - n_dead,
            "n_dead_letters": n_dead,
            "n_behind": n_behind,
        }

    def folded(self, features: dict[str, dict[str, float]], expected: dict[str, Expected]) -> Hop:
        """Clicks in the online rows of these learners against clicks counted in the data by other code."""
        learners = {}
        for user, values in features.items():
            online = [int(values.get("clicks_total_count", 0)), int(values.get("clicks_total_weight", 0))]
            learners[user] = {"online": online, "in_data": [expected[user].n_clicks, expected[user].weight]}
        is_ok = bool(learners) and all(found["online"] == found["in_data"] for found in learners.values())
        return {"ok": is_ok, "count_and_weight": learners}

    def enriched(self) -> Hop:
        """Every event came out enriched, and every profile with them."""
        n_events = sum(end_offsets(self.settings, STREAM_TOPICS).values())
        n_enriched = sum(end_offsets(self.settings, [ENRICHED]).values())
        return {"ok": n_enriched >= n_events > 0, "n_events": n_events, "n_enriched": n_enriched}

    def rows_online(self, live: str) -> Hop:
        """Redis has a row for everybody the replay sent anything of."""
        n_users = self.runner.results["replay"]["n_users"]
        with redis.Redis.from_url(self.settings.redis_url, socket_timeout=10) as client:
            n_rows = sum(1 for _ in client.scan_iter(match=f"*{live}-*", count=1000))
        return {"ok": n_rows >= n_users > 0, "n_rows": n_rows, "n_users": n_users}

    def models(self) -> Hop:
        """MLflow has a champion of every model."""
        champions = {}
        for model in MODELS:
            url = f"{self.settings.mlflow_uri}/api/2.0/mlflow/registered-models/get?name={quote(model)}"
            aliases = http_json(url)["registered_model"].get("aliases", [])
            champions[model] = next((a["version"] for a in aliases if a["alias"] == CHAMPION), None)
        n_registered = sum(len(self.runner.results[job]["models"]) for job in ("train", "preference"))
        is_ok = all(champions.values()) and n_registered == len(MODELS)
        return {"ok": is_ok, "n_registered": n_registered, "champions": champions, **self._took("train")}

    def decided(self, asked: Asked) -> Hop:
        """Everybody was answered, most of them by the models."""
        rungs = asked.rungs()
        cuts = quantiles(asked.latency_ms, n=100)
        is_ok = rungs.get("model", 0) > len(asked.answers) / 2
        latency = {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}
        return {"ok": is_ok, "n_asked": len(asked.answers), "by_rung": rungs, "latency_ms": latency}

    def logged(self, n_asked: int) -> Hop:
        """The decisions are in Kafka."""
        n_logged = sum(end_offsets(self.settings, [DECISIONS]).values())
        return {"ok": n_logged >= n_asked, "n_logged": n_logged, "n_asked_at_least": n_asked}

    def archived(self) -> Hop:
        """The lake has every enriched event, once."""
        files = [path for path in self.settings.lake.rglob("*.parquet") if path.is_file()]
        n_rows = sum(pq.read_metadata(path).num_rows for path in files)
        n_enriched = sum(end_offsets(self.settings, [ENRICHED]).values())
        return {"ok": n_rows == n_enriched > 0, "n_files": len(files), "n_rows": n_rows, "n_enriched": n_enriched}

    def report(self) -> Hop:
        """The monitoring report is written, for people and for programs."""
        found = self.runner.results["monitor"]
        page, summary = Path(found["index"]), Path(found["summary"])
        is_ok = page.stat().st_size > 0 and bool(orjson.loads(summary.read_bytes()))
        n_decisions = found["decisions"]["n_scored"]
        return {
            "ok": is_ok,
            "n_decisions": n_decisions,
            "html": str(page),
            "json": str(summary),
            **self._took("monitor"),
        }

    def _took(self, job: str) -> dict[str, float]:
        return {"took_s": self.runner.took_s[job]}
