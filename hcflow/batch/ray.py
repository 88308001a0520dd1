"""Ray: an actor for `ray.data` that converts images by name, and a list's shards on a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hcflow.batch import urls
from hcflow.batch.manifest import row_under
from hcflow.batch.outcomes import FOLDER, Count
from hcflow.batch.rows import TRIES, Conversion, Results
from hcflow.batch.shards import Batch
from hcflow.models import shipped
from hcflow.models.load import Models, computation
from runtime.convert.folders.pool import Pool
from runtime.convert.job import Job
from runtime.errors import FileError, HcflowError, one_line
from runtime.images.codecs.files import MAX_PIXELS

_MOST_TEXT = 500  # of an error of Ray's, which may be a traceback
_SECONDS = 10.0  # until a cluster's host has answered
_THREADS = 4  # of an actor without a GPU, where nobody says how many


class Upscale:
    """An actor for `ray.data.Dataset.map_batches`: rows with names in, rows with outcomes out.

    It holds a worker process with the model. Images go from storage to storage and never through
    Ray's object store. A batch that Ray hands out again after an actor's end gives the same files.

        from ray.data import ActorPoolStrategy, read_parquet

        read_parquet("s3://bucket/names.parquet").map_batches(
            Upscale,
            fn_constructor_kwargs={"root": "s3://bucket/photos", "results": "s3://bucket/large"},
            batch_size=64, num_gpus=1, compute=ActorPoolStrategy(size=8),
        ).write_parquet("s3://bucket/outcomes")

    Args:
        root: the folder or URL that the names lie under; relative names are meant from there.
        results: the folder or URL of the results, at the same relative paths.
        column: where the names are in a row.
        model: a bundle's folder or a model's name; None is `sr_x4`.
        format_name: of all results; None keeps each image's own where that is written.
        load: options of `hcflow.load`; by default the fastest here within the budgets.
        **job: further fields of `runtime.convert.job.Job`, as `tau` and `seed`.
    """

    def __init__(
        self,
        root: str,
        results: str,
        *,
        column: str = "path",
        model: str | None = None,
        format_name: str | None = None,
        load: Mapping[str, Any] | None = None,
        **job: Any,
    ) -> None:
        self._root, self._column = urls.plain(root), column
        most = job.get("max_pixels", MAX_PIXELS)
        self._results = Results(urls.plain(results), format_name, most)
        models = Models({**computation(), **(load or {})}, shipped.UPSCALES)
        self._pool = Pool(Job("upscale", models, model, **job), 1, tries=TRIES)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str | None]]:
        """Convert a batch's images.

        Args:
            batch: columns by name, one of them the names.

        Returns:
            Columns `path`, `output` (relative to the results) and `error`, one of which is None.

        Raises:
            StorageError: the storage fails, whatever the row.
            BackendError: the model cannot be opened.
        """
        names = [str(name) for name in batch[self._column]]
        rows = [row_under(self._root, number, name) for number, name in enumerate(names)]
        found: dict[int, dict[str, Any]] = {}

        def note(outcome: dict[str, Any]) -> None:
            found[outcome["row"]] = outcome

        with _work_folder(self._results.folder) as work:
            Conversion(self._results, work, lambda _: False, note).run(iter(rows), self._pool)
        told = [found[number] for number in range(len(rows))]
        return {
            "path": list(names),
            "output": [each.get("output") for each in told],
            "error": [each.get("error") for each in told],
        }


class _Shards:
    """An actor that converts shards of a list, each as `hcflow upscale --shard` does it."""

    def __init__(self, batch: Batch, job: Job, jobs: int, timeout: float | None) -> None:
        self._batch = batch
        self._pool = Pool(job, jobs, timeout, TRIES)

    def __call__(self, shards: Mapping[str, Any]) -> dict[str, list[Any]]:
        told: dict[str, list[Any]] = {"shard": [], "done": [], "failed": [], "error": []}
        for shard in shards["shard"]:
            count, error = Count(), ""
            try:
                count = self._batch.run(int(shard), self._pool)
            except (HcflowError, OSError) as failure:
                error = one_line(failure)
            told["shard"].append(int(shard))
            told["done"].append(count.done)
            told["failed"].append(count.failed)
            told["error"].append(error)
        return told


def run(
    batch: Batch, job: Job, shards: range, address: str, *, jobs: int, timeout: float | None
) -> Iterator[Count]:
    """Convert shards of a list on a Ray cluster; the count of each as it is finished.

    A GPU, or the processors that `--threads` and `--jobs` ask for, make an actor's share.

    Args:
        batch: the list and its results, both where every node reaches them.
        job: what is done to an image.
        shards: which.
        address: the cluster's, as `ray.init` takes it; `local` starts one here.
        jobs: worker processes of an actor.
        timeout: seconds after which an image has failed.

    Raises:
        FileError: Ray is not installed or the cluster is not reached, or shards were not finished;
            the others are.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_items
    except ImportError:
        raise FileError("--ray needs pip install 'hcflow-deploy[ray]'") from None
    try:
        start: dict[str, Any] = {"include_dashboard": False}
        if address != "local":
            _check_reached(address)
            start = {"address": address}
        ray.init(**start, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a dozen kinds, by what is not there
        raise FileError(f"no Ray cluster is reached at '{address}': {one_line(error)}") from error
    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells its plan and much else
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 1)
        threads = job.models.options.get("threads") or max(1, min(_THREADS, int(cpus) // jobs))
        assert isinstance(job.models, Models)
        if gpus:
            share: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1}
            most = int(gpus)
        else:
            job = replace(job, models=job.models.with_options(threads=threads))
            share = {"num_cpus": min(int(cpus), threads * jobs)}
            most = int(cpus) // share["num_cpus"]
        told = from_items([{"shard": index} for index in shards]).map_batches(
            _Shards,
            fn_constructor_args=(batch, job, jobs, timeout),
            batch_size=1,
            compute=ActorPoolStrategy(size=max(1, min(most, len(shards)))),
            **share,
        )
        unfinished = []
        for row in told.iter_rows():
            if row["error"]:
                unfinished.append(f"shard {row['shard']}: {row['error']}")
            yield Count(row["done"], row["failed"])
        if unfinished:
            rest = f" (and {len(unfinished) - 1} more)" if len(unfinished) > 1 else ""
            raise FileError(f"not finished: {unfinished[0]}{rest}: run it again")
    except ray.exceptions.RayError as error:
        raise FileError(f"Ray gave up: {one_line(error)[:_MOST_TEXT]}: run it again") from error
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Check that something listens at an address of host and port: without, Ray ends the process.

    Raises:
        OSError: nothing does.
        ValueError: there is no port in it.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname is not None and place.port is not None:
        socket.create_connection((place.hostname, place.port), _SECONDS).close()


@contextlib.contextmanager
def _work_folder(results: str) -> Iterator[Path]:
    """A folder for files on their way; of results here it is on the same disk."""
    beside = None
    if urls.scheme_of(results) is None:
        beside = os.path.join(results, FOLDER)
        os.makedirs(beside, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=beside, prefix=".hcflow-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)
