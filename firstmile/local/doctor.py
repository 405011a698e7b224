"""`firstmile doctor`: what this machine lacks, before anything starts."""

import socket
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib import import_module

from rich.markup import escape

from firstmile.cli import console, emit
from firstmile.errors import FirstmileError, GateError
from firstmile.local.checks import Finding, examine
from firstmile.settings import Settings, load_settings

KAFKA_TIMEOUT_S = 1.0


def run() -> None:
    """Check Python, Java, memory, disk, ports, Redis, jars, make and, if Kafka runs, the topics; name the remedies."""
    settings = load_settings()
    findings = report(settings, topic_findings(settings))
    emit({"ok": is_fit(findings), "checks": [asdict(f) for f in findings]})
    if not is_fit(findings):
        sys.exit(1)


def report(settings: Settings, more: Iterable[Finding] = ()) -> list[Finding]:
    """Every finding, also as a line on stderr."""
    findings = [*examine(settings), *more]
    for f in findings:
        mark = "[green]ok     [/]" if f.is_ok else "[red]fails  [/]" if f.is_essential else "[yellow]note   [/]"
        remedy = f" → {f.remedy}" if f.remedy else ""
        console.print(f"{mark} {f.name:<10} {escape(f.found + remedy)}", soft_wrap=True, highlight=False)
    return findings


def topic_findings(settings: Settings) -> list[Finding]:
    """What pipelines says of the topics, nothing while Kafka is away; it keeps nobody from starting the archive."""
    host, _, port = settings.kafka_servers.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=KAFKA_TIMEOUT_S).close()
    except (OSError, ValueError):
        return []
    try:
        found: list[Finding] = import_module("pipelines.topic_checks").examine(settings)
    except FirstmileError as error:
        return [Finding("topics", False, str(error), "see `firstmile status`", is_essential=False)]
    return [replace(f, remedy="") if f.is_ok else f for f in found]


def is_fit(findings: list[Finding]) -> bool:
    """Whether everything essential is there."""
    return all(f.is_ok for f in findings if f.is_essential)


def require_fit(settings: Settings) -> None:
    """Raise GateError with every remedy when something essential is missing."""
    findings = report(settings)
    if not is_fit(findings):
        remedies = "; ".join(f"{f.name}: {f.found}; {f.remedy}" for f in findings if f.is_essential and not f.is_ok)
        raise GateError(f"this machine is not ready: {remedies}")
