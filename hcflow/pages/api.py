"""An OpenAPI description as one HTML page that loads nothing."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em;border-radius:.2em}"
    "table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


def render(description: Mapping[str, Any]) -> str:
    """The page: every operation with its parameters and answers.

    Args:
        description: as of OpenAPI 3.
    """
    title = html.escape(description["info"]["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title} {html.escape(description['info']['version'])}</h1>",
        f"<p>{html.escape(description['info'].get('description', ''))}</p>",
        '<p><a href="openapi.json">openapi.json</a></p>',
    ]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts += _operation(path, method, operation)
    return "".join(parts)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    yield f"<p>{html.escape(operation.get('description', ''))}</p><table>"
    for parameter in operation.get("parameters", []):
        about = parameter.get("description") or parameter["in"]
        yield _row(parameter["name"], about)
    if "requestBody" in operation:
        yield _row("body", operation["requestBody"].get("description", ""))
    for status, answer in operation.get("responses", {}).items():
        yield _row(status, answer.get("description", ""))
    yield "</table>"


def _row(name: str, about: str) -> str:
    return f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(about)}"
