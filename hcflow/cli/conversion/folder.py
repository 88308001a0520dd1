"""`hcflow upscale FOLDER` and `hcflow downscale FOLDER`: every image in it, each accounted for."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import typer

from hcflow.cli import console, input_output
from hcflow.cli.console import shown
from hcflow.models import shipped
from hcflow.models.load import Models
from hcflow.version import __version__
from runtime.bundle.manifest import Manifest
from runtime.convert.folders import pool
from runtime.convert.folders.resume import Finished
from runtime.convert.folders.walk import PassedOver, Problem, Task, is_same, walk
from runtime.convert.job import Job
from runtime.errors import FileError
from runtime.images.codecs import heic
from runtime.inference.tau_map import TauMap
from runtime.system import atomic, machine

_LISTED = 50  # failed images named on stderr at the end; --json names all


@dataclass
class _Account:
    """What became of the images; images that were never begun count as `left`.

    `passed_over` are pictures of kinds that are not read.
    """

    done: int = 0
    skipped: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def counted(self) -> int:
        return self.done + self.skipped + len(self.failed)

    def fail(self, relative: str, error: str) -> None:
        self.failed.append({"input": relative, "error": error})


def convert_folder(
    source: str,
    output: str,
    job: Job,
    *,
    format_name: str | None,
    jobs: int,
    as_json: bool,
    timeout: float | None = None,
) -> None:
    """Convert every image of a folder and say what became of each.

    Args:
        source: the folder of the images.
        output: the folder of the results, which get the same relative names.
        job: what is done to each image.
        format_name: of the results; None keeps each image's own, but when downscaling it is PNG, or
            TIFF for pages.
        jobs: processes.
        as_json: print the account as JSON on standard output.
        timeout: seconds after which an image has failed; None waits for ever.

    Raises:
        typer.BadParameter: the output is not a folder, or is the input's; or an unknown format.
        HcflowError: the model cannot be opened, or the output is not writable.
        typer.Exit: with code 1, when an image failed.
    """
    _check_request(source, output, job)
    format_name = input_output.known_format(format_name)
    # What a lossy format drops, upscale cannot bring back.
    is_lossless = format_name is None and job.direction == "downscale"
    atomic.check_folder(output)
    if job.model is not None:  # a name might mean a folder by the time a worker opens it
        job = replace(job, model=str(shipped.resolve(job.model)))
    manifest = job.models.open(job.model).manifest  # built once, before the workers
    check_tau_map(job, manifest)
    os.makedirs(output, exist_ok=True)
    finished = Finished(
        output,
        {**job.identity(manifest, __version__), "format": "PNG" if is_lossless else format_name},
    )
    account = _Account()

    def found() -> Iterator[Task | Problem | PassedOver]:
        return walk(source, output, format_name, is_lossless=is_lossless)

    total = sum(isinstance(each, Task) for each in found())
    started = time.monotonic()
    with contextlib.closing(finished), console.progress() as bar:
        row = bar.add_task("", total=total, rate="")
        waiting = _waiting(found(), finished, account)
        processes = max(1, min(jobs, total))
        outcomes = pool.run(waiting, with_threads(job, jobs), processes, timeout)
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                task = outcome.task
                for line in outcome.warnings:
                    bar.console.print(
                        f"hcflow: warning: {shown(line)}",
                        markup=False,
                        emoji=False,
                        highlight=False,
                        soft_wrap=True,
                    )
                if outcome.error is None:
                    finished.add(task.relative, outcome.mark, task.output)
                    account.done += 1
                else:
                    account.fail(task.relative, outcome.error)
                rate = account.done / max(time.monotonic() - started, 1e-3)
                bar.update(row, completed=account.counted, rate=f"{rate:.1f}/s")
                if outcome.stops:
                    account.left = max(0, total - account.counted)
                    break
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        _print_json(account, source, output, job, seconds)
    else:
        _tell(account)
    if account.counted == 0:
        raise FileError(f"'{source}' has no image in it that this program reads")
    if account.failed:
        raise typer.Exit(1)


def _check_request(source: str, output: str, job: Job) -> None:
    if job.samples > 1 or job.size is not None:
        raise typer.BadParameter("--samples and --size do not work with a folder")
    if output == input_output.STANDARD:
        raise typer.BadParameter("the output of a folder must be a folder: -o FOLDER")
    if os.path.exists(output) and not os.path.isdir(output):
        raise typer.BadParameter(f"'{output}' is a file: the output of a folder must be a folder")
    if is_same(source, output) and not job.force:
        raise typer.BadParameter(f"'{output}' is the input itself: --force overwrites its images")


def _waiting(
    found: Iterator[Task | Problem | PassedOver], finished: Finished, account: _Account
) -> Iterator[Task]:
    """The tasks that are still to be done; everything else goes into the account."""
    for each in found:
        if isinstance(each, Problem):
            if each.is_warning:
                _say(f"warning: '{shown(each.relative)}': {each.message}")
            else:
                account.fail(each.relative, each.message)
        elif isinstance(each, PassedOver):
            account.passed_over[each.kind] += 1
        elif finished.has(each.relative, each.source, each.output):
            account.skipped += 1
        else:
            yield each


def check_tau_map(job: Job, manifest: Manifest) -> None:
    """Refuse a τ map of colours once, not for every image.

    At the default τ of 0 it is only warned of: an image's record may choose another model.
    """
    if job.tau_map is None:
        return
    TauMap.of(job.tau_map, 1, 1)
    if job.tau is None and not manifest.default_tau:
        _say("warning: --tau-map has no effect at the model's default τ = 0: give a --tau above 0")


def with_threads(job: Job, jobs: int) -> Job:
    """The processors shared among the processes, unless the user has said otherwise."""
    options = job.models.options
    if options.get("threads") is not None:
        return job
    assert isinstance(job.models, Models)
    threads = max(1, machine.usable_cpus() // jobs)
    return replace(job, models=job.models.with_options(threads=threads))


def _print_json(account: _Account, source: str, output: str, job: Job, seconds: float) -> None:
    drawn = {"tau": job.tau, "seed": job.seed} if job.direction == "upscale" else {}
    report = {
        "input": source,
        "output": output,
        **drawn,
        "done": account.done,
        "skipped": account.skipped,
        "left": account.left,
        "failed": account.failed,
        "passed_over": dict(sorted(account.passed_over.items())),
        "seconds": seconds,
    }
    print(json.dumps(report))


def _tell(account: _Account) -> None:
    for failure in account.failed[:_LISTED]:
        _say(f"failed: '{shown(failure['input'])}': {shown(failure['error'])}")
    if len(account.failed) > _LISTED:
        _say(f"failed: and {len(account.failed) - _LISTED} more; --json names them all")
    rest = f", {account.left} left undone" if account.left else ""
    if account.passed_over:
        kinds = (f"{number} {shown(kind)}" for kind, number in sorted(account.passed_over.items()))
        rest += f"; passed over: {', '.join(kinds)}"
        if not account.passed_over.keys().isdisjoint(heic.SUFFIXES):
            rest += f" ({heic.INSTALL} reads HEIC)"
    _say(f"{account.done} done, {account.skipped} done before, {len(account.failed)} failed{rest}")


def _say(line: str) -> None:
    print(f"hcflow: {line}", file=sys.stderr, flush=True)
