"""`--manifest LIST`: the shards of a list of images converted, here or by a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import typer

from hcflow.batch import manifest, outcomes, urls
from hcflow.batch.listing import SHARD_ROWS
from hcflow.batch.manifest import ImageList
from hcflow.batch.outcomes import Count
from hcflow.batch.rows import TRIES, Results
from hcflow.batch.shards import Batch
from hcflow.cli import console, input_output
from hcflow.cli.console import shown
from hcflow.cli.conversion.folder import check_tau_map, with_threads
from hcflow.models import shipped
from hcflow.version import __version__
from runtime.convert.folders.pool import Pool
from runtime.convert.job import Job

_LISTED = 50  # failed rows named on stderr; the outcomes hold all


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes.
        timeout: seconds after which an image has failed; None waits for ever.
        ray: address of a Ray cluster; None is this machine.
    """

    jobs: int
    timeout: float | None
    ray: str | None


def convert_list(
    name: str,
    output: str | None,
    job: Job,
    workers: Workers,
    *,
    shard: str | None,
    format_name: str | None,
    as_json: bool,
) -> None:
    """Convert the images of a list, or of one shard of it, and say what became of them.

    Args:
        name: of the list.
        output: the folder or URL of the results.
        job: what is done to each image.
        workers: do it.
        shard: as `0/16`; None is the whole list.
        format_name: of the results; None keeps each image's own, but when downscaling it is PNG.
        as_json: print the counts as JSON on standard output.

    Raises:
        typer.BadParameter: an option that does not go with a list, or a shard that is none.
        HcflowError: the list cannot be read, the results cannot be written, another process works
            on the shard, or the model cannot be opened.
    """
    if job.samples > 1 or job.size is not None:
        raise typer.BadParameter("--samples and --size do not work with --manifest")
    if output in (None, input_output.STANDARD):
        raise typer.BadParameter("--manifest needs a folder or URL for the results: -o DEST")
    parsed = None if shard is None else _parse(shard)
    format_name = input_output.known_format(format_name)
    if format_name is None and job.direction == "downscale":
        format_name = "PNG"  # what a lossy format drops, upscale cannot bring back
    if job.model is not None:  # a name might mean a folder by the time a worker opens it
        job = replace(job, model=str(shipped.resolve(job.model)))
    opened = job.models.open(job.model).manifest  # built once, before the workers
    check_tau_map(job, opened)
    images = manifest.open_list(name)
    mine, shards = _chosen(parsed, images)
    results = Results(urls.plain(str(output)), format_name, job.max_pixels)
    batch = Batch(images, shards, results)
    batch.begin(job.identity(opened, __version__))
    started = time.monotonic()
    if workers.ray is not None:
        from hcflow.batch import ray

        counts = ray.run(batch, job, mine, workers.ray, jobs=workers.jobs, timeout=workers.timeout)
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints what its nodes say
            total = _told(counts, len(mine))
    else:
        job = with_threads(job, workers.jobs)
        with contextlib.closing(Pool(job, workers.jobs, workers.timeout, TRIES)) as pool:
            total = _converted(batch, mine, pool)
    facts = {
        "manifest": name,
        "output": output,
        "shards": f"{len(mine)} of {shards}",
        "done": total.done,
        "failed": total.failed,
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        print(json.dumps(facts))
        return
    where = urls.join(batch.results.folder, outcomes.FOLDER)
    rest = f"; the outcomes are in '{shown(where)}'"
    _say(f"{total.done} done, {total.failed} failed, {facts['shards']} shards finished{rest}")


def _converted(batch: Batch, mine: range, pool: Pool) -> Count:
    total, listed = Count(), 0
    with console.progress() as bar:
        known = batch.images.rows if len(mine) == batch.shards else None
        row = bar.add_task("", total=known, rate="")

        def tell(outcome: dict[str, Any]) -> None:
            nonlocal listed
            bar.update(row, advance=1)
            for line in outcome.get("warnings", ()):
                _print(bar, f"warning: {line}")
            if "error" in outcome:
                listed += 1
                if listed <= _LISTED:
                    name = f"'{outcome['path']}': " if outcome["path"] else ""
                    _print(bar, f"failed: row {outcome['row']}: {name}{outcome['error']}")
                elif listed == _LISTED + 1:
                    _print(bar, "failed: and more; the outcomes name them all")

        for index in mine:
            count = batch.run(index, pool, tell)
            total.done += count.done
            total.failed += count.failed
    return total


def _told(counts: Iterator[Count], shards: int) -> Count:
    """The sum of what a cluster's shards tell, with a bar."""
    total = Count()
    with console.progress() as bar:
        row = bar.add_task("", total=shards, rate="")
        for count in counts:
            bar.update(row, advance=1)
            total.done += count.done
            total.failed += count.failed
    return total


def _parse(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None:
        raise typer.BadParameter(f"--shard '{text}': give i/N, as 0/16 for the first of 16")
    index, number = int(match[1]), int(match[2])
    if index >= number:
        last = f"0/{number} to {number - 1}/{number}" if number else "a number above 0 after the /"
        raise typer.BadParameter(f"--shard {text}: there is no such shard; give {last}")
    return index, number


def _chosen(parsed: tuple[int, int] | None, images: ImageList) -> tuple[range, int]:
    """Which shards are this process's, and how many there are.

    A list that was written in shards keeps them: of fewer parts each has several.
    """
    index, number = parsed or (0, 1)
    if images.files is None:
        shards = number if parsed else max(1, -(-images.rows // SHARD_ROWS))
        return range(index, index + 1) if parsed else range(shards), shards
    if number > images.files:
        raise typer.BadParameter(
            f"--shard {index}/{number}: the list has {images.files} shards: give an N of at most "
            "that"
        )
    return range(index, images.files, number), images.files


def _print(bar: Any, text: str) -> None:
    options = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
    bar.console.print(f"hcflow: {shown(text)}", **options)


def _say(line: str) -> None:
    print(f"hcflow: {line}", file=sys.stderr, flush=True)
