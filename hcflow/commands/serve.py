"""`hcflow serve`: models over HTTP: images in, images out, the KServe protocol, a page."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from hcflow.cli import options
from hcflow.models.load import computation
from runtime.errors import ParameterError

_BOUNDS = "Limits"


def serve(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…", help="Bundle folders or model names; the first is the default."
        ),
    ],
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Let in only requests that carry the token in this file."
        ),
    ] = None,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Let in everyone, from other machines too."),
    ] = False,
    queue: Annotated[
        int, typer.Option(min=0, help="Requests that wait.", rich_help_panel=_BOUNDS)
    ] = 16,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes of a request.", rich_help_panel=_BOUNDS)
    ] = 20_000_000,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Pixels of the larger side of a conversion, all frames or pages together: what "
            "downscale takes, what upscale's network gives.",
            rich_help_panel=_BOUNDS,
        ),
    ] = 1 << 26,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of a request.", rich_help_panel=_BOUNDS)
    ] = 60.0,
    threads: options.Threads = None,
    backend: options.FastestBackend = None,
    precision: options.FastestPrecision = None,
    device: options.Device = None,
    exact: options.Exact = False,
) -> None:
    """Serve models over HTTP: an image is sent to /v1/upscale, and comes back larger.

    A page to drop pictures on is at /, the KServe v2 protocol under /v2, figures at /metrics.
    """
    if exact and (backend or precision or device is not None):
        raise typer.BadParameter("--exact decides backend and precision: give one or the other")
    if token_file is not None and no_auth:
        raise typer.BadParameter("--token-file and --no-auth: give one of them")
    from hcflow.serving import server
    from hcflow.serving.access import Access, read_token
    from hcflow.serving.limits import Limits
    from hcflow.serving.served import ServedModels
    from hcflow.serving.service import Service

    token = None if token_file is None else read_token(token_file)
    given = {"backend": backend, "precision": precision, "threads": threads, "device": device}
    load = {**computation(exact), **{k: v for k, v in given.items() if v is not None}}
    with server.listen(host, port) as listener:
        is_open = not server.is_this_machine(listener)
        if is_open and token is None and not no_auth:
            raise ParameterError(
                f"--host {host} is reached from other machines: give --token-file, or --no-auth if "
                "everyone may use it"
            )
        is_bare = token is None and not no_auth
        access = Access(token, server.own_names(host) if is_bare else None)
        limits = dataclasses.replace(
            Limits(), waiting=queue, body_bytes=max_bytes, hr_pixels=max_pixels, seconds=timeout
        )
        service = Service(ServedModels(bundles, load), limits)
        server.run(service, access, listener)
