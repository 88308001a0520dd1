"""`hcflow upscale FOLDER` and `hcflow downscale FOLDER`: every image in it, and a true account."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import typer

from hcflow.cli import console
from hcflow.cli.console import shown
from hcflow.models import shipped
from hcflow.models.load import Models
from hcflow.version import __version__
from runtime.bundle.manifest import Manifest
from runtime.convert.folders import pool
from runtime.convert.folders.resume import Record
from runtime.convert.folders.walk import Problem, Task, is_same, walk
from runtime.convert.job import Job
from runtime.errors import FileError
from runtime.images import files
from runtime.inference.tau_map import TauMap
from runtime.system import atomic, machine

_LISTED = 50  # failed images named on stderr at the end; --json names all


@dataclass
class _Account:
    done: int = 0
    skipped: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    warnings: int = 0
    left: int = 0

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
) -> None:
    """Work on every image of a folder and say what became of each.

    Raises:
        typer.BadParameter: the output is no folder, or the input's; or an unknown format.
        HcflowError: the model cannot be opened, or the output is not writable.
        typer.Exit: with code 1, when an image failed.
    """
    if job.options.get("samples", 1) > 1 or job.options.get("size") is not None:
        raise typer.BadParameter("a folder's images are drawn once each: no --samples, no --size")
    if output == "-":
        raise typer.BadParameter("a folder's images go to a folder: -o FOLDER")
    if os.path.exists(output) and not os.path.isdir(output):
        raise typer.BadParameter(f"'{output}' is a file: a folder's images go to a folder")
    if is_same(source, output) and not job.force:
        raise typer.BadParameter(f"'{output}' is the input itself: --force overwrites its images")
    if format_name is not None and format_name.upper() not in files.FORMATS:
        raise typer.BadParameter(f"'{format_name}': one of {', '.join(files.FORMATS)}")
    if format_name is None and job.direction == "downscale":
        format_name = "PNG"  # what a lossy format drops, upscale cannot bring back
    format_name = format_name and format_name.upper()
    atomic.check_folder(output)
    if job.model is not None:  # a name might mean a folder by the time a worker opens it
        job = replace(job, model=str(shipped.resolve(job.model)))
    manifest = job.models.open(job.model).manifest  # built once, before the workers
    _check_tau_map(job, manifest)
    os.makedirs(output, exist_ok=True)
    record = Record(output, {**job.identity(manifest, __version__), "format": format_name})
    account = _Account()
    total = sum(isinstance(found, Task) for found in walk(source, output, format_name))
    started = time.monotonic()
    with contextlib.closing(record), console.progress() as bar:
        row = bar.add_task("", total=total, rate="")
        waiting = _waiting(walk(source, output, format_name), record, account)
        threaded = _with_threads(job, jobs)
        outcomes = pool.run(waiting, threaded, max(1, min(jobs, total)))
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
                    record.add(task.relative, outcome.mark, task.output)
                    account.done += 1
                else:
                    account.fail(task.relative, outcome.error)
                counted = account.done + account.skipped + len(account.failed)
                rate = account.done / max(time.monotonic() - started, 1e-3)
                bar.update(row, completed=counted, rate=f"{rate:.1f}/s")
                if outcome.stops:
                    account.left = max(0, total - counted)
                    break
    _report(account, source, output, job, time.monotonic() - started, as_json)


def _waiting(found: Iterator[Task | Problem], record: Record, account: _Account) -> Iterator[Task]:
    """The tasks that are still to be done; everything else goes into the account."""
    for each in found:
        if isinstance(each, Problem):
            if each.is_warning:
                account.warnings += 1
                _say(f"warning: '{shown(each.relative)}': {each.message}")
            else:
                account.fail(each.relative, each.message)
        elif record.has(each.relative, each.source, each.output):
            account.skipped += 1
        else:
            yield each


def _check_tau_map(job: Job, manifest: Manifest) -> None:
    """Refuse a τ map of colours once, not for every image.

    At the default τ of 0 it is only warned of: an image's record may choose another model.
    """
    if "tau_map" not in job.options:
        return
    TauMap.of(job.options["tau_map"], 1, 1)
    if job.options["tau"] is None and not manifest.default_tau:
        _say("warning: --tau-map changes nothing at the model's own τ = 0: give a --tau above 0")


def _with_threads(job: Job, jobs: int) -> Job:
    """The processors shared among the jobs, unless the user has said otherwise."""
    if job.models.options.get("threads") is not None:
        return job
    threads = max(1, machine.usable_cpus() // jobs)
    return replace(job, models=Models({**job.models.options, "threads": threads}))


def _report(
    account: _Account, source: str, output: str, job: Job, seconds: float, as_json: bool
) -> None:
    if as_json:
        drawn = {k: job.options[k] for k in ("tau", "seed") if k in job.options}
        print(
            json.dumps(
                {
                    "input": source,
                    "output": output,
                    **drawn,
                    "done": account.done,
                    "skipped": account.skipped,
                    "left": account.left,
                    "failed": account.failed,
                    "seconds": round(seconds, 3),
                }
            )
        )
    else:
        for failure in account.failed[:_LISTED]:
            _say(f"failed: '{shown(failure['input'])}': {shown(failure['error'])}")
        if len(account.failed) > _LISTED:
            _say(f"failed: and {len(account.failed) - _LISTED} more; --json names them all")
        rest = f", {account.left} left undone" if account.left else ""
        _say(
            f"{account.done} done, {account.skipped} done before, "
            f"{len(account.failed)} failed{rest}"
        )
    if account.done + account.skipped + len(account.failed) == 0:
        raise FileError(f"'{source}' has no image in it that this program reads")
    if account.failed:
        raise typer.Exit(1)


def _say(line: str) -> None:
    print(f"hcflow: {line}", file=sys.stderr, flush=True)
