"""The records as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from tests.gpu.record import Record

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;width:100%}
td,th{padding:.25rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #8884}
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ok{color:#287a3e}.failed{color:#b3261e;font-weight:600}.skipped{color:#8a6d1a}
small{opacity:.7;display:block}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}
.ok{color:#6cc784}.failed{color:#ff8a80}.skipped{color:#e3c46a}}
"""


def page(made: str, found: Sequence[Record]) -> str:
    """The whole page."""
    outcomes = Counter(record.outcome for record in found)
    summary = ", ".join(f"{outcomes[o]} {o}" for o in ("ok", "failed", "skipped"))
    machine = [r for r in found if r.check == "machine"]
    facts = "; ".join(f"{k} {shown(v)}" for r in machine for k, v in r.figures.items())
    parts = ["<h1>On a GPU</h1>", f"<p>{escape(made)}. {escape(summary)}.</p>"]
    parts += [f"<p>{escape(facts)}</p>"] if facts else []
    if failed := [record for record in found if record.outcome == "failed"]:
        parts += ["<h2>Failed</h2>", _table(failed, with_check=True)]
    for check in dict.fromkeys(record.check for record in found):
        parts += [f"<h2>{escape(check)}</h2>", _table([r for r in found if r.check == check])]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>On a GPU</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _table(found: Sequence[Record], with_check: bool = False) -> str:
    """A row a record; figures that several records share have columns of their own."""
    columns = [] if with_check else _columns(found)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = [_row(record, columns, with_check) for record in found]
    return f"<table><tr><th></th><th></th>{head}</tr>{''.join(rows)}</table>"


def _columns(found: Sequence[Record]) -> list[str]:
    counts = Counter(name for record in found for name in record.figures)
    return [name for name, count in counts.items() if count > 1][:8]


def _row(record: Record, columns: Sequence[str], with_check: bool) -> str:
    others = {k: v for k, v in record.figures.items() if k not in columns}
    notes = [record.detail, "  ".join(f"{k} {shown(v)}" for k, v in others.items())]
    small = "".join(f"<small>{escape(note)}</small>" for note in notes if note)
    name = f"{record.check}: {record.name}" if with_check else record.name
    cells = "".join(f'<td class="n">{escape(shown(record.figures.get(c)))}</td>' for c in columns)
    outcome = f'<td class="{record.outcome}">{record.outcome}</td>'
    return f"<tr>{outcome}<td>{escape(name)}{small}</td>{cells}</tr>\n"


def shown(value: Any) -> str:
    """A figure with four digits; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
