"""The page a person opens first: what was looked at, when, and what moved, in words. Pure text in, text out.

Names come from a log anybody's events may have shaped: every value passes `escape`.
"""

from collections.abc import Container, Iterable, Sequence
from html import escape
from typing import Any, Final

AGE: Final = "onboarding_age_days"

Document = dict[str, Any]

CSS: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --warn: #b45309; --good: #15803d }
@media (prefers-color-scheme: dark) { :root { --warn: #f59e0b; --good: #4ade80 } }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem } p { margin: .4rem 0 }
table { border-collapse: collapse; margin: .8rem 0; width: 100%; font-size: .92rem }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } .n { text-align: right; font-variant-numeric: tabular-nums }
.soft { opacity: .72 } .warn { color: var(--warn); font-weight: 600 } .good { color: var(--good); font-weight: 600 }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0 }
.facts div { background: var(--soft); border-radius: .5rem; padding: .5rem .9rem }
.facts b { display: block; font-size: 1.2rem }
code { overflow-wrap: anywhere }
"""


def page(title: str, body: str) -> str:
    """A whole document; `body` is HTML already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>{body}</body></html>\n"
    )


def report_page(summary: Document) -> str:
    """The first page of a report."""
    found = summary["decisions"]
    parts = [
        "<h1>Firstmile: are the decisions still made on what the models know?</h1>",
        f"<p>Looked at on {_when(summary['made_at'])}: {_count(found['n_decisions'], 'decision')} of "
        f"{_count(found['n_users'], 'user')}, made between {_when(found['first_at'])} and {_when(found['last_at'])}. "
        f"{_left_out(found)}</p>",
        _facts(found),
        *(_model(model, figures) for model, figures in summary["models"].items()),
        *(
            f'<h2>{escape(model)}</h2><p class="warn">Not compared: {escape(why)}.</p>'
            for model, why in summary["skipped"].items()
        ),
        _answers(found),
        _method(summary["method"]),
    ]
    return page(f"Firstmile report of {_when(summary['made_at'])}", "\n".join(parts))


def list_page(names: Sequence[str]) -> str:
    """The list of reports, in the order given."""
    if not names:
        return page(
            "Firstmile reports", "<h1>Reports</h1><p>None yet: <code>firstmile monitor run</code> writes one.</p>"
        )
    rows = [f'<li><a href="{escape(name)}/">{escape(_when(name))}</a></li>' for name in names]
    rows[0] = rows[0].replace("</li>", " (newest)</li>")
    return page("Firstmile reports", f"<h1>Reports</h1><ul>{''.join(rows)}</ul>")


def _model(model: str, found: Document) -> str:
    n, files = found["n_drifted"], found["files"]
    text = (
        f"{n} of {found['n_columns']} columns drifted ({found['share_drifted']:.0%})"
        if n
        else f"None of {found['n_columns']} columns drifted"
    )
    answers = "its answers moved" if found["is_prediction_drifted"] else "its answers did not move"
    shown = {c["column"]: c for c in [*found["predictions"], *found["drifted"]]}
    return (
        f"<h2>{escape(model)}, version {escape(found['version'])}</h2>"
        f'<p><span class="{"warn" if n else "good"}">{escape(text)}</span>, {answers}. '
        f"{_count(found['n_current'], 'decision')} of {_count(found['n_users'], 'user')} against "
        f"{_count(found['n_reference'], 'training row')}. "
        f'<a href="{escape(files["html"])}">Every column with its distribution</a> · '
        f'<a href="{escape(files["json"])}">JSON</a></p>' + _moves(shown.values()) + _notes(found, shown)
    )


def _notes(found: Document, shown: Container[str]) -> str:
    missing = [f"{c['column']} ({c['missing_reference']:.0%} → {c['missing_current']:.0%})" for c in found["missing"]]
    notes = [
        _named("Missing in every decision, though training had values", found["gone"], "warn"),
        _named("Has values now, though training had none", found["new"], "warn"),
        _named("More or less often missing than in training", missing, "warn"),
        _named("Without values on either side", found["empty"], "soft"),
    ]
    if AGE in shown:
        notes.append(
            f"<p>Onboarding age ({AGE}) itself drifted: training rows lie on fixed days of an onboarding, and whatever "
            "grows with age moves along with it.</p>"
        )
    return "".join(notes)


def _method(method: Document) -> str:
    return (
        f'<p class="soft">A column drifted when it moved by at least its threshold: {escape(method["threshold"])}, in '
        f"{escape(method['unit'])} (normed Wasserstein distance, by Evidently). Means are of known values. "
        'All figures: <a href="summary.json">summary.json</a>.</p>'
    )


def _moves(columns: Iterable[Document]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(c['column'])}</code></td><td class=n>{_number(c['mean_reference'])}</td>"
        f"<td class=n>{_number(c['mean_current'])}</td><td class=n>{_number(c['score'])}</td>"
        f"<td class=n>{_number(c['threshold'])}</td>"
        f"<td>{'<span class=warn>drifted</span>' if c['is_drifted'] else 'no'}</td></tr>"
        for c in columns
    )
    numbers = ("Mean in training", "Mean now", "Moved by (std)", "Threshold")
    head = f"<th>Column{''.join(f'<th class=n>{name}' for name in numbers)}<th>Drift"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _facts(found: Document) -> str:
    latency = found["latency_ms"]
    share = found["n_scored"] / max(found["n_decisions"], 1)
    facts = [
        (f"{share:.0%}", "answered by models"),
        (f"{found['n_fallback']:,}", "fallbacks"),
        (_ms(latency["p50"]), "latency, median"),
        (_ms(latency["p99"]), "latency, 99 of 100 within"),
    ]
    return f'<div class="facts">{"".join(f"<div><b>{escape(b)}</b>{escape(t)}</div>" for b, t in facts)}</div>'


def _answers(found: Document) -> str:
    versions = {f"{m} {v}": n for m, counts in found["models"].items() for v, n in counts.items()}
    groups = [
        ("Rung", found["rungs"]),
        ("Why not a higher rung", found["reasons"]),
        ("Flow", found["flows"]),
        ("Arm", found["arms"]),
        ("Model version", versions),
    ]
    rows = "".join(
        f"<tr><th>{escape(title)}</th><td>{_tally(counts)}</td></tr>"
        for title, counts in groups
        if any(counts.values())
    )
    return f"<h2>How they were answered</h2><table><tbody>{rows}</tbody></table>"


def _tally(counts: dict[str, int]) -> str:
    return " · ".join(f"{escape(name)} ({n:,})" for name, n in counts.items() if n)


def _left_out(found: Document) -> str:
    left = [
        (found["n_repeated"], "repeated"),
        (found["n_unreadable"], "unreadable"),
        (found["n_older_unread"], "older than what a run looks at"),
    ]
    texts = [f"{n:,} {text}" for n, text in left if n]
    return (
        f"Left out of {_count(found['n_records'] + found['n_older_unread'], 'record')}: {', '.join(texts)}."
        if texts
        else ""
    )


def _named(text: str, names: Sequence[str], kind: str) -> str:
    listed = ", ".join(f"<code>{escape(name)}</code>" for name in names)
    return f'<p><span class="{kind}">{escape(text)}:</span> {listed}</p>' if names else ""


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _when(text: str | None) -> str:
    """`2026-11-23T10:46:43.123456+00:00`, or a folder's `2026-11-23T10-46-43.123Z`, for people."""
    if text is None:
        return "never"
    day, _, clock = text.partition("T")
    return escape(f"{day} {clock[:8].replace('-', ':')} UTC" if clock else text)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} ms"


def _number(value: float | None) -> str:
    """Three digits, no exponent; a distance from a constant has no upper end worth reading.

    >>> _number(0.12345), _number(12.345), _number(12345.6), _number(0.0), _number(None)
    ('0.123', '12.3', '12,346', '0', '–')
    """
    if value is None or value != value:
        return "–"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size else "0"
