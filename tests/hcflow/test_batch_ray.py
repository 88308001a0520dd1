"""A real Ray, started here: the same files as without it, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.batches import InProcess, batch, files, job, outcomes, picture, text_list
from tests.support.bundles import write_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PICTURES = 30
START = (
    "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,\n"
    "         logging_level=logging.ERROR)"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    for i in range(PICTURES):
        picture(tmp_path / "in" / f"{i}.png", i, (60, 60))
    return text_list(tmp_path / "list.txt", [f"in/{i}.png" for i in range(PICTURES)])


@pytest.fixture
def expected(names: Path, bundle: Path, tmp_path: Path) -> dict[str, bytes]:
    """The results without Ray."""
    batch(names, tmp_path / "expected").run(0, InProcess(job(bundle)))
    return files(tmp_path / "expected")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray without a token, of little memory, patient with a slow machine."""
    for name, value in {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # by default 15, which never runs on a busy machine
        "RAY_object_store_memory": "100000000",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "300",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    }.items():
        monkeypatch.setenv(name, value)


def _start(list_: Path, results: Path, bundle: Path) -> subprocess.Popen[str]:
    words = ["upscale", "--manifest", list_, "-o", results, "--model", bundle, "--exact"]
    words += ["--threads", 1, "--ray", "local", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "hcflow", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _listed(folder: Path, shards: int) -> Path:
    words = ["manifest", folder / "in", "-o", folder / "list", "--shards", shards]
    subprocess.run([sys.executable, "-m", "hcflow", *map(str, words)], cwd=ROOT, check=True)
    return folder / "list"


def _actors(parent: int) -> list[int]:
    """The processes of the actors below a process."""
    parents, found = dict[int, int](), list[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        if words.startswith(b"ray::") and b"MapWorker" in words:
            found.append(int(folder.name))
    return [pid for pid in found if _is_below(pid, parent, parents)]


def _is_below(process: int, parent: int, parents: dict[int, int]) -> bool:
    while process in parents:
        if process == parent:
            return True
        process = parents[process]
    return False


@pytest.mark.usefixtures("environment")
def test_an_actor_killed_in_the_middle_costs_nothing(
    tmp_path: Path, names: Path, bundle: Path, expected: dict[str, bytes]
) -> None:
    run = _start(_listed(tmp_path, 3), tmp_path / "out", bundle)
    while len(files(tmp_path / "out")) < 3:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    for actor in _actors(run.pid):
        os.kill(actor, signal.SIGKILL)
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert (json.loads(out)["done"], json.loads(out)["failed"]) == (PICTURES, 0)
    assert files(tmp_path / "out") == expected
    told = [outcomes(tmp_path / "out", f"0000{i}-of-00003") for i in range(3)]
    assert sorted(each["output"] for shard in told for each in shard) == sorted(expected)
    assert sorted(os.listdir(tmp_path / "out" / "_done")) == [
        *(f"0000{i}-of-00003.jsonl" for i in range(3)),
        "job.json",
    ]


@pytest.mark.usefixtures("environment")
def test_a_pipeline_of_ray_data_has_an_outcome_for_every_row(
    tmp_path: Path, names: Path, bundle: Path, expected: dict[str, bytes]
) -> None:
    code = (
        "import json, logging, sys, ray\n"
        "from hcflow.batch.ray import Upscale\n"
        "root, results, bundle = sys.argv[1:]\n"
        f"{START}\n"
        f"names = [f'{{i}}.png' for i in range({PICTURES})] + ['none.png', '../x.png']\n"
        "kwargs = {'root': root, 'results': results, 'model': bundle,\n"
        "          'load': {'backend': 'onnxruntime', 'precision': 'fp32', 'threads': 1}}\n"
        "told = ray.data.from_items([{'path': name} for name in names]).map_batches(\n"
        "    Upscale, fn_constructor_kwargs=kwargs, batch_size=8,\n"
        "    compute=ray.data.ActorPoolStrategy(size=1))\n"
        "print(json.dumps([row for row in told.iter_rows()]))\n"
    )
    words = [sys.executable, "-c", code, tmp_path / "in", tmp_path / "out", bundle]
    run = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    told: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    assert files(tmp_path / "out") == expected
    by_name = {each["path"]: each for each in told}
    assert len(told) == len(by_name) == PICTURES + 2
    assert by_name["0.png"] == {"path": "0.png", "output": "0.png", "error": None}
    assert by_name["none.png"]["error"] == "No such file or directory"
    assert "has '..' in it" in by_name["../x.png"]["error"]


@pytest.mark.usefixtures("environment")
def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, names: Path, bundle: Path) -> None:
    words = ["upscale", "--manifest", names, "-o", tmp_path / "out", "--model", bundle]
    run = subprocess.run(
        [sys.executable, "-m", "hcflow", *map(str, words), "--ray", "127.0.0.1:9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "no Ray cluster is reached at '127.0.0.1:9'" in run.stderr.splitlines()[-1]


@pytest.mark.usefixtures("environment")
def test_ray_serve_gives_the_bytes_of_a_file(
    tmp_path: Path, names: Path, bundle: Path, expected: dict[str, bytes]
) -> None:
    code = (
        "import logging, sys, urllib.request, ray\n"
        "from ray import serve\n"
        "from ray.serve._private import api\n"
        "api.HTTP_PROXY_TIMEOUT = 600  # a slow machine is no error\n"
        "from hcflow.batch.ray_serve import deployment\n"
        "bundle, image, result, port = sys.argv[1:]\n"
        f"{START}\n"
        "serve.start(http_options={'host': '127.0.0.1', 'port': int(port)})\n"
        "load = {'backend': 'onnxruntime', 'precision': 'fp32', 'threads': 1}\n"
        "serve.run(deployment([bundle], load=load))\n"
        "url = f'http://127.0.0.1:{port}'\n"
        "assert urllib.request.urlopen(url + '/health/ready').status == 200\n"
        "data = open(image, 'rb').read()\n"
        "request = urllib.request.Request(url + '/v1/upscale', data)\n"
        "open(result, 'wb').write(urllib.request.urlopen(request).read())\n"
        "serve.shutdown()\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [bundle, tmp_path / "in" / "0.png", tmp_path / "served.png", port]
    words = [sys.executable, "-c", code, *map(str, given)]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    served = np.asarray(Image.open(tmp_path / "served.png"))
    assert np.array_equal(served, np.asarray(Image.open(tmp_path / "expected" / "0.png")))
