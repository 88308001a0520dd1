"""`hcflow triton`: a model repository of NVIDIA's Triton Inference Server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from hcflow.cli import console, input_output, options
from hcflow.models import shipped
from hcflow.models.load import computation
from runtime.backends import NAMES
from runtime.bundle.reader import Bundle
from runtime.system.arguments import one_of


def triton(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Bundle folder or model name.", show_default=False),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="REPOSITORY",
            help="Folder of the model repository; models are added to one that exists.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the model in Triton.", show_default="the bundle's")
    ] = None,
    python_path: Annotated[
        str | None,
        typer.Option(
            help="Folders of the server's machine, separated as in PATH, where NumPy, Pillow and "
            "the backend are installed for the Python of Triton.",
            show_default="where that Python finds them",
        ),
    ] = None,
    instances: Annotated[
        int, typer.Option(min=1, help="Processes with the model; with GPUs, on each.")
    ] = 1,
    backend: options.FastestBackend = None,
    precision: options.FastestPrecision = None,
    exact: options.Exact = False,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Write a model into a repository of NVIDIA's Triton Inference Server; see docs/triton.md.

    The model takes images of any size, gray, RGB and alpha, and gives the bytes of `hcflow
    upscale`'s model. Graphs built with --io uint8, and TensorRT engines of such graphs, become
    native models of tiles beside it.
    """
    if exact:
        chosen = {"--backend": backend, "--precision": precision}
        input_output.refuse(chosen, "is decided by --exact: give one or the other")
    parameters = computation(exact)
    if backend is not None:
        parameters["backend"] = one_of("backend", backend, NAMES)
    if precision is not None:
        parameters["precision"] = precision
    if threads is not None:
        parameters["threads"] = str(threads)
    folders = [os.path.abspath(path) for path in (python_path or "").split(os.pathsep) if path]
    from hcflow.serving.triton import repository

    bundle = Bundle.open(shipped.resolve(model))
    written = console.run(
        "writing the repository",
        lambda: repository.write(
            bundle,
            Path(output),
            name=name,
            parameters=parameters,
            python_path=folders,
            instances=instances,
        ),
    )
    if as_json:
        print(json.dumps({"repository": output, "models": written}))
    else:
        for each in written:
            print(console.shown(os.path.join(output, each)))
