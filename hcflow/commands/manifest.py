"""`hcflow manifest`: a folder or bucket of images listed once, in shards."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from hcflow.batch import listing
from hcflow.batch.manifest import COLUMN
from hcflow.cli import console, options


def manifest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, bucket or prefix (s3://bucket/photos), or a list to cut up: text, "
            "JSONL, Parquet.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="LIST",
            help="Folder or URL of the list to write.",
            show_default=False,
        ),
    ],
    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many shards the list has.",
            show_default=f"so many that each has some {listing.SHARD_ROWS:,} rows",
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Where the names are in a list of JSONL or Parquet.")
    ] = COLUMN,
    as_json: options.Json = False,
) -> None:
    """List images once, in shards, for `hcflow upscale --manifest LIST --shard i/N`."""

    def warn(text: str) -> None:
        print(f"hcflow: warning: {console.shown(text)}", file=sys.stderr, flush=True)

    written = console.run(
        f"listing {source}",
        lambda: listing.write(source, output, shards, warn, column=column),
    )
    if as_json:
        facts = {"list": output, "root": written.root, "rows": written.rows}
        print(json.dumps({**facts, "shards": written.files}))
    else:
        name = console.shown(output)
        print(f"{name}: {written.rows} rows in {written.files} shards", file=sys.stderr)
