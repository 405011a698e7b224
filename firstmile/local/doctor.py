"""`firstmile doctor`: what this machine lacks, before anything starts."""

import sys
from dataclasses import asdict

from rich.markup import escape

from firstmile.cli import console, emit
from firstmile.errors import GateError
from firstmile.local.checks import Finding, examine
from firstmile.settings import Settings, load_settings


def run() -> None:
    """Check Python, Java, memory, disk, ports, Redis, jars and make; name the remedy for what is missing."""
    settings = load_settings()
    findings = report(settings)
    emit({"ok": is_fit(findings), "checks": [asdict(f) for f in findings]})
    if not is_fit(findings):
        sys.exit(1)


def report(settings: Settings) -> list[Finding]:
    """Every finding, also as a line on stderr."""
    findings = examine(settings)
    for f in findings:
        mark = "[green]ok     [/]" if f.is_ok else "[red]fails  [/]" if f.is_essential else "[yellow]note   [/]"
        remedy = f" → {f.remedy}" if f.remedy else ""
        console.print(f"{mark} {f.name:<10} {escape(f.found + remedy)}", soft_wrap=True, highlight=False)
    return findings


def is_fit(findings: list[Finding]) -> bool:
    """Whether everything essential is there."""
    return all(f.is_ok for f in findings if f.is_essential)


def require_fit(settings: Settings) -> None:
    """Raise GateError with every remedy when something essential is missing."""
    findings = report(settings)
    if not is_fit(findings):
        remedies = "; ".join(f"{f.name}: {f.found}; {f.remedy}" for f in findings if f.is_essential and not f.is_ok)
        raise GateError(f"this machine is not ready: {remedies}")
