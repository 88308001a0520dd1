"""Large images, file to file: `python -m benchmarks.large [--rounds 1] [--json]`.

`hcflow` with the default model and the fastest choice for this machine, start to exit, against the
fastest naive thing that can do it: a script that runs the naive export in OpenVINO in float32 over
fp32's own tiles (`benchmarks.naive_files`). 1920×1080 and 7680×4320 come out of an upscale, and
4032×3024 goes down and back; what ours spends on the host is counted apart. Rounds are interleaved;
times by the clock, peak resident memory; on a machine with nothing else on it, after one run on a
small image that fills the caches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from benchmarks.harness import cached_naive
from hcflow.models.shipped import DEFAULT, resolve
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.images.photographs import photograph
from runtime.bundle.manifest import DIRECTIONS, Direction
from runtime.bundle.reader import Bundle

OURS = "hcflow"
NAIVE = "naive script, OpenVINO fp32"
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """An image to convert: the size of the large image, and the steps in order."""

    title: str
    width: int
    height: int
    steps: tuple[Direction, ...]


JOBS = (
    Job("480×270 → 1920×1080", 1920, 1080, ("inverse",)),
    Job("1920×1080 → 7680×4320", 7680, 4320, ("inverse",)),
    Job("4032×3024 down and back", 4032, 3024, ("forward", "inverse")),
)


@dataclass(frozen=True)
class Timing:
    """One contender on one job.

    Attributes:
        job: its title.
        contender: `OURS` or `NAIVE`.
        megapixels: of the large image.
        seconds: of each round, all steps together, start to exit.
        peak: bytes of resident memory, the most of any step.
        parts: mean seconds of ours by what they went to (`Report.seconds`), all steps together.
    """

    job: str
    contender: str
    megapixels: float
    seconds: tuple[float, ...]
    peak: int
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest less smallest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def measure(jobs: Sequence[Job], rounds: int) -> list[Timing]:
    """Both contenders on every job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        naive = _naive_steps(folder)
        dot = folder / "dot.png"
        Image.fromarray(photograph("astronaut")).resize((64, 64)).save(dot)
        for direction in DIRECTIONS:
            _run(_ours(direction, dot, folder / "out.png"))
        return [each for job in jobs for each in _timings(job, folder, naive, rounds)]


def _timings(
    job: Job, folder: Path, naive: dict[Direction, list[str]], rounds: int
) -> list[Timing]:
    picture = Image.fromarray(photograph("astronaut"))
    source = folder / "source.png"
    shrink = 4 if job.steps[0] == "inverse" else 1
    size = (job.width // shrink, job.height // shrink)
    picture.resize(size, Image.Resampling.BICUBIC).save(source)
    seconds: dict[str, list[float]] = {OURS: [], NAIVE: []}
    peaks = dict.fromkeys(seconds, 0)
    parts: Counter[str] = Counter()  # of ours
    for _ in range(rounds):
        for contender, times in seconds.items():
            total, file = 0.0, source
            for number, step in enumerate(job.steps):
                output = folder / f"out{number}.png"
                ours = _ours(step, file, output)
                theirs = [*naive[step], str(file), str(output)]
                took, peak, said = _run(ours if contender == OURS else theirs)
                total, file = total + took, output
                if contender == OURS:
                    parts.update(json.loads(said)["tiles"]["seconds"])
                peaks[contender] = max(peaks[contender], peak)
            times.append(total)
    megapixels = job.width * job.height / 1e6
    return [
        Timing(
            job.title,
            contender,
            megapixels,
            tuple(times),
            peaks[contender],
            {part: spent / rounds for part, spent in parts.items()} if contender == OURS else {},
        )
        for contender, times in seconds.items()
    ]


def _ours(step: Direction, source: Path, output: Path) -> list[str]:
    word = "upscale" if step == "inverse" else "downscale"
    program = str(Path(sys.executable).with_name("hcflow"))
    files = [str(source), "-o", str(output)]
    # The naive script does not upscale once more to measure the round trip either.
    equal = ["--no-round-trip"] if word == "downscale" else []
    return [program, word, "--model", DEFAULT, "--force", "--json", *equal, *files]


def _naive_steps(folder: Path) -> dict[Direction, list[str]]:
    """The naive command of each direction; source and output follow."""
    model = load(weights(DEFAULT)).model
    bundle = Bundle.open(resolve())
    latents = ",".join(f"{c}:{h // 4}" for c, h, _ in model.config.latent_shapes(4, 4))
    commands: dict[Direction, list[str]] = {}
    for direction in DIRECTIONS:
        file = folder / f"{direction}.onnx"
        file.write_bytes(cached_naive(model, direction))
        graph = bundle.graph(direction, "fp32", None)
        grid = ["--tile", str(graph.tile), "--overlap", str(graph.overlap)]
        given = ["--latents", latents] if direction == "inverse" else []
        program = [sys.executable, "-m", "benchmarks.naive_files"]
        commands[direction] = [*program, *grid, *given, str(file)]
    return commands


def _run(command: list[str]) -> tuple[float, int, bytes]:
    """Seconds, peak resident bytes and the few bytes of standard output of a program."""
    start, peak = time.perf_counter(), 0
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=quiet) as process:
        assert process.stdout is not None
        while process.poll() is None:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines():
                    peak = max(peak, int(line.split()[1]) * 1024 if "VmHWM" in line else 0)
            time.sleep(_POLL_SECONDS)
        took, said = time.perf_counter() - start, process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return took, peak, said


def table(timings: Sequence[Timing]) -> str:
    """A row for each contender and job, in Markdown."""
    yardsticks = {each.job: each.median for each in timings if each.contender == NAIVE}
    rows = (
        f"| {each.job} | {each.contender} | {each.median / yardsticks[each.job]:.2f} | "
        f"{each.spread:.0%} | {each.median:.1f} | {each.megapixels / each.median:.3f} | "
        f"{each.peak / 1e9:.2f} | {_host(each)} |"
        for each in timings
    )
    host = ", ".join(_HOST)
    head = (
        "| file to file | | / naive | spread | seconds | megapixels a second | peak GB "
        f"| host: {host} |"
    )
    return "\n".join([head, "|---" * 8 + "|", *rows])


_HOST = ("decoding", "pixels", "encoding")


def _host(timing: Timing) -> str:
    """Seconds of work on the host, and what share of all seconds the encoding is."""
    if not timing.parts:
        return ""
    spent = ", ".join(f"{timing.parts.get(part, 0.0):.1f}" for part in _HOST)
    return f"{spent} ({timing.parts.get('encoding', 0.0) / timing.median:.0%})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--job", default="", help="only jobs whose title holds this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    timings = measure([job for job in JOBS if given.job in job.title], given.rounds)
    print(json.dumps([asdict(each) for each in timings]) if given.json else table(timings))


if __name__ == "__main__":
    main()
