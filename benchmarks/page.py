"""Everything about speed on one page: `python -m benchmarks.page`, or `make benchmark`.

Naive exports and ours side by side in one run, as ratios with their spread; large files; memory;
cost against size; start. The last table says which targets hold on this machine. A quarter of an
hour on two cores with nothing else on them; `--quick` leaves out the large files.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks import large, size_cost, speed, start
from benchmarks.harness import about, cached_naive, inputs, time_rounds
from hcflow.models.shipped import DEFAULT, resolve
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from runtime.system import machine

LINEAR = 0.9, 1.1
"""Log-log slopes of cost against pixels that count as linear."""


@dataclass(frozen=True)
class Target:
    """What is wanted, what was found, and whether it is enough; None where it was not measured."""

    name: str
    wanted: str
    found: str
    holds: bool | None


Times = Mapping[str, Sequence[float]]


def graphs(rounds: int, threads: int) -> dict[int, Times]:
    """Seconds of every contender that can run here, by the side of its square output."""
    model = load(weights(DEFAULT)).model
    int8, _ = speed.int8_inverse(resolve())
    naive, found = cached_naive(model), dict[int, Times]()
    for side in speed.SIZES:
        feeds = inputs(model, side)
        runs, _ = speed.contenders(model, naive, int8, threads, feeds)
        found[4 * side] = time_rounds(runs, feeds, rounds)
    return found


def ratio(times: Times, contender: str, yardstick: str = speed.YARDSTICK) -> float:
    """Medians of two contenders, divided."""
    return statistics.median(times[contender]) / statistics.median(times[yardstick])


def graph_table(found: Mapping[int, Times]) -> str:
    """Contenders down, sizes across: ratio of medians, and the spread of a contender's rounds."""
    sides = list(found)
    names = dict.fromkeys(name for times in found.values() for name in times)
    head = " | ".join(f"{side}×{side}" for side in sides)
    lines = [f"| time / {speed.YARDSTICK} | {head} |", "|---" * (len(sides) + 1) + "|"]
    for name in names:
        cells = []
        for times in found.values():
            own = times[name]
            spread = (max(own) - min(own)) / statistics.median(own)
            cells.append(f"{ratio(times, name):.2f} ± {spread / 2:.0%}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def graph_targets(found: Mapping[int, Times]) -> list[Target]:
    """INT8 against the naive export, where both ran."""
    targets = []
    for side, times in found.items():
        value = ratio(times, speed.INT8)
        name = f"int8 / naive fp32, both OpenVINO, {side}×{side}"
        targets.append(Target(name, "≤ 0.36", f"{value:.2f}", value <= 0.36))
    return targets


def file_targets(timings: Sequence[large.Timing]) -> list[Target]:
    """Large files against the naive script, and their memory."""
    seconds = {(each.job, each.contender): each.median for each in timings}
    targets = []
    for job in large.JOBS[1:]:
        if (job.title, large.OURS) in seconds:
            value = seconds[job.title, large.OURS] / seconds[job.title, large.NAIVE]
            found, holds = f"{value:.2f}", value <= 0.40
        else:
            found, holds = "not measured", None
        targets.append(Target(f"{job.title} / naive fp32", "≤ 0.40", found, holds))
    peaks = [each.peak / 1e9 for each in timings if each.contender == large.OURS]
    if peaks:
        target = Target("peak memory", "≤ 1.5 GB", f"{max(peaks):.2f} GB", max(peaks) <= 1.5)
        targets.append(target)
    return targets


def target_table(targets: Sequence[Target]) -> str:
    """The targets in Markdown."""
    words = {True: "holds", False: "missed", None: "–"}
    rows = [f"| {t.name} | {t.wanted} | {t.found} | {words[t.holds]} |" for t in targets]
    return "\n".join(["| | target | found | |", "|---|---|---|---|", *rows])


def main() -> None:
    """Measure everything and print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine.usable_cpus())
    parser.add_argument("--quick", action="store_true", help="without the large files")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = graphs(given.rounds, given.threads)
    timings = [] if given.quick else large.measure(large.JOBS, 1)
    by_size = size_cost.measure(given.rounds)
    exact = start.measure(given.rounds)["hcflow upscale --exact"][0]
    slope = size_cost.slope(by_size)
    linear = LINEAR[0] <= slope <= LINEAR[1]
    targets = [
        *graph_targets(found),
        *file_targets(timings),
        Target("log-log slope of cost against pixels", "0.9 to 1.1", f"{slope:.2f}", linear),
        Target("hcflow upscale --exact, start to exit", "≤ 1.0 s", f"{exact:.2f} s", exact <= 1.0),
    ]
    parts = [about(given.threads, given.rounds), graph_table(found)]
    parts += [large.table(timings)] if timings else []
    print(*parts, size_cost.table(by_size), target_table(targets), sep="\n\n")


if __name__ == "__main__":
    main()
