"""Profiles as one self-contained HTML page: tables, and bars drawn in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hcflow.measure.profile import Profile
from runtime.checks import layer_times

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right}
th{border-bottom:1px solid #888}td:first-child,th:first-child{text-align:left}
.bar{fill:#3b78b5}.floor{fill:#b5553b}svg text{font-size:12px;fill:currentColor}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}
"""
_WIDTH, _ROW, _LABEL, _FIGURE = 900, 22, 330, 110
LAYERS = 20
"""Layers shown for a setting; the rest is one bar."""

Bar = tuple[str, float, str, float | None]
"""Label, length, figure beside it, and a second length that is marked (the floor)."""


def page(title: str, facts: Sequence[str], profiles: Sequence[Profile]) -> str:
    """The whole page."""
    measured = [p for p in profiles if p.latency]
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(fact)}</p>" for fact in facts)]
    parts += ["<h2>Median latency</h2>", _bars([_latency_bar(p) for p in measured])]
    parts += ["<p>The mark is the floor: the least time the work can take on this machine.</p>"]
    parts += ["<h2>Figures</h2>", table(profiles)]
    for p in measured:
        if p.layers:
            parts += [f"<h2>{escape(label(p))}: layers</h2>", _layers(p)]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def label(p: Profile) -> str:
    """A setting in one line."""
    s = p.setting
    batch = f", batch {s.batch}" if s.batch > 1 else ""
    io = "" if s.io == "float32" else f" {s.io}"
    return f"{s.backend} {s.direction} {s.precision}{io} {s.height}×{s.width}{batch}"


HEADINGS = (
    *("p50 ms", "p90 ms", "p99 ms", "images/s", "host ms", "floor ms", "÷ floor", "GFLOP"),
    "MB",
)


def cells(p: Profile) -> list[str]:
    """A setting's figures under `HEADINGS`."""
    if p.latency is None:
        return []
    floor = p.floor
    return [
        *(f"{x * 1e3:.2f}" for x in (p.latency.p50, p.latency.p90, p.latency.p99)),
        f"{p.images_per_second:.2f}",
        "" if p.overhead is None else f"{p.overhead * 1e3:.2f}",
        "–" if floor is None else f"{floor * 1e3:.2f}",
        "–" if floor is None else f"{p.latency.p50 / floor:.2f}",
        f"{p.flops / 1e9:.2f}" if p.flops else "",
        "–" if p.peak_memory is None else f"{p.peak_memory / 1e6:.0f}",
    ]


def table(profiles: Sequence[Profile]) -> str:
    """One row for every setting; one without figures gives the reason."""
    head = "".join(f"<th>{escape(h)}</th>" for h in ("setting", *HEADINGS))
    rows = []
    for p in profiles:
        figures = "".join(f"<td>{escape(c)}</td>" for c in cells(p))
        if p.skipped is not None:
            figures = f'<td colspan="{len(HEADINGS)}">skipped: {escape(p.skipped)}</td>'
        rows.append(f"<tr><td>{escape(label(p))}</td>{figures}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _latency_bar(p: Profile) -> Bar:
    assert p.latency
    return label(p), p.latency.p50, f"{p.latency.p50 * 1e3:.2f} ms", p.floor


def _layers(p: Profile) -> str:
    assert p.layers
    total = sum(layer.seconds for layer in p.layers) or 1.0
    kinds = layer_times.by_kind(p.layers)
    by_kind = [(k, s, f"{100 * s / total:.1f} %", None) for k, s in kinds.items()]
    first = [
        (f"{layer.name} ({layer.kind})", layer.seconds, f"{layer.seconds * 1e3:.3f} ms", None)
        for layer in p.layers[:LAYERS]
    ]
    rest = sum(layer.seconds for layer in p.layers[LAYERS:])
    if rest:
        first.append((f"{len(p.layers) - LAYERS} more", rest, f"{rest * 1e3:.3f} ms", None))
    return _bars(by_kind) + _bars(first)


def _bars(bars: Sequence[Bar]) -> str:
    longest = max((length for _, length, _, _ in bars), default=0.0) or 1.0
    room = _WIDTH - _LABEL - _FIGURE
    parts = []
    for i, (name, length, figure, mark) in enumerate(bars):
        y, width = i * _ROW, room * length / longest
        shown = name if len(name) <= 48 else "…" + name[-47:]
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(shown)}'
            f"<title>{escape(name)}</title></text>"
            f'<rect class="bar" x="{_LABEL}" y="{y + 3}" width="{width:.1f}" height="15"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 15}">{escape(figure)}</text>'
        )
        if mark is not None:
            x = _LABEL + min(room, room * mark / longest)
            parts.append(f'<rect class="floor" x="{x:.1f}" y="{y + 1}" width="2" height="19"/>')
    height = len(bars) * _ROW + 4
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%">{"".join(parts)}</svg>'
