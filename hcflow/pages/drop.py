"""A page to drop a picture on: it is converted, shown under the divider, and downloaded."""

from __future__ import annotations

import functools

from hcflow.pages import compare

_HERE = "connect-src 'self'; base-uri 'none'; form-action 'none'"


def render(title: str, engine: str, sources: str = _HERE) -> str:
    """The page, over an engine that converts.

    Args:
        title: of the page.
        engine: JavaScript that defines `engine`, as `drop.js` describes it.
        sources: what it may load, as a Content-Security-Policy says it.
    """
    return compare.page(
        title,
        "[]",
        tools=compare.part("drop.html"),
        style=compare.part("drop.css"),
        script=engine + compare.part("drop.js"),
        sources=sources,
    )


@functools.cache
def served() -> str:
    """The page of `hcflow serve`, which asks the server that it comes from."""
    return render("hcflow", compare.part("serve_engine.js"))
