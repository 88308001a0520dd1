"""`hcflow web`: a static page that runs models in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast

import typer

from hcflow.cli import console, options
from hcflow.models import shipped
from runtime.bundle.graph_entry import PRECISIONS, Precision
from runtime.bundle.reader import Bundle
from runtime.system.arguments import one_of


def web(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL…", help="Bundle folders or model names.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for any static web host; files of an older page are replaced.",
            show_default=False,
        ),
    ],
    precision: Annotated[
        str, typer.Option(help="Of the graphs: fp32, fp16 or int8; the smaller load faster.")
    ] = "fp32",
    webgpu: Annotated[
        bool, typer.Option(help="Let visitors compute on their GPU, where their browser can.")
    ] = True,
    package: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The npm package onnxruntime-web as a file, where it cannot be fetched.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a page that downscales and upscales in the browser; see docs/web.md.

    Pictures never leave the visitor's machine. onnxruntime-web is fetched from npm's registry once,
    checked against its hash and kept in the cache. Serve the folder by any web server, for example
    `python -m http.server --directory FOLDER`.
    """
    from hcflow.web import site

    chosen = cast(Precision, one_of("precision", precision, PRECISIONS))
    folders = [shipped.resolve(model) for model in models]
    bundles = [(folder.name, Bundle.open(folder)) for folder in folders]
    runtimes = ("wasm", "webgpu") if webgpu else ("wasm",)
    written = console.run(
        "writing the page",
        lambda: site.write(bundles, output, chosen, runtimes=runtimes, package_file=package),
    )
    if as_json:
        print(json.dumps({"folder": str(output), "files": written}))
    else:
        print(console.shown(str(output / written[-1])))
