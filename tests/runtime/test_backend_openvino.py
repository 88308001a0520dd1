"""OpenVINO gives the reference's picture, the same bytes whoever asks, and starts faster twice."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import runtime
from export.artifact import NUMERICS
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow_ref.checkpoint.load import load
from runtime import backends
from runtime.backends.session import ExpectsShapes, Session
from runtime.bundle.manifest import Direction, Numerics, Precision
from tests.support.bundles import write_bundle
from tests.support.golden_files import arrays, latents, weights

openvino = pytest.importorskip("openvino")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests share, so that each program is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def shared_cache(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(compiled))


@pytest.fixture
def cache(shared_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty at its start."""
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def golden(direction: Direction, precision: Precision) -> bytes:
    """A graph of the golden rescaling network."""
    model = load(weights("rescale_x4")).model
    spec = GraphSpec(direction, precision)
    emitted = emit.to_onnx(trace.trace(deploy(model, spec)), model.config, spec)
    return ir.to_proto(emitted).SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def inverse() -> bytes:
    return golden("inverse", "fp32")


def feeds(height: int, width: int, n: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(height * 1000 + width)
    shapes = {
        "lr": (n, 3, height, width),
        "z1": (n, 6, 2 * height, 2 * width),
        "z2": (n, 21, height, width),
    }
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def open_(data: bytes, threads: int = 1, window: Sequence[int] = ()) -> Session:
    session = backends.open_session("openvino", data, NUMERICS, threads)
    if window:
        assert isinstance(session, ExpectsShapes)
        session.expect({name: value.shape for name, value in feeds(*window).items()})
    return session


def digest(session: Session, height: int, width: int) -> str:
    return hashlib.sha256(session.run(feeds(height, width))["hr"].tobytes()).hexdigest()


def test_it_gives_the_official_image(inverse: bytes) -> None:
    io = arrays("rescale_x4")
    lr = io["lr"].numpy()
    zs = {f"z{j + 1}": z.numpy() for j, z in enumerate(latents(io))}
    for window in ((), lr.shape[2:]):
        session = open_(inverse, window=window)
        hr = np.concatenate(
            [
                session.run({k: v[i : i + 1] for k, v in ({"lr": lr} | zs).items()})["hr"]
                for i in range(len(lr))
            ]
        )
        assert np.abs(hr - io["inverse_hr_raw"].numpy()).max() <= 1e-5


def test_an_fp16_forward_gives_all_outputs_compiled_and_from_the_cache(cache: Path) -> None:
    """Its `lr` also feeds a cast, which OpenVINO removes."""
    data = golden("forward", "fp16")
    hr = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    expected = backends.open_session("onnxruntime", data, NUMERICS, 1).run({"hr": hr})
    for kept in (0, 1):
        assert len(list(cache.glob("*"))) == kept
        outputs = open_(data).run({"hr": hr})
        for name in ("lr", "z1", "z2"):
            assert np.abs(outputs[name] - expected[name]).max() < 0.02


def test_threads_change_no_byte(inverse: bytes) -> None:
    for window in ((), (24, 24)):
        sessions = [open_(inverse, threads, window) for threads in (1, 2, 3)]
        for size in ((24, 24), (7, 13), (1, 1)):
            assert len({digest(session, *size) for session in sessions}) == 1


def test_a_result_depends_on_its_input_and_not_on_what_ran_before(inverse: bytes) -> None:
    sizes = [(24, 24), (7, 13), (12, 24)]
    there = open_(inverse, window=(24, 24))
    back = open_(inverse, window=(24, 24))
    first = {size: digest(there, *size) for size in sizes}
    assert {size: digest(back, *size) for size in reversed(sizes)} == first


def test_many_threads_may_ask_at_once(inverse: bytes) -> None:
    session = open_(inverse, 2, (8, 8))
    sizes = [(8, 8), (5, 9), (9, 5)] * 8
    alone = {size: digest(session, *size) for size in set(sizes)}
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda size: digest(session, *size), sizes)) == [
            alone[size] for size in sizes
        ]


def test_a_cached_program_gives_the_same_bytes_and_a_damaged_one_is_made_again(
    inverse: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = digest(open_(inverse, window=(8, 8)), 8, 8)
    blobs = sorted(cache.iterdir())
    assert len(blobs) == 2  # one for any shape, one for the window
    assert cache.stat().st_mode & 0o077 == 0
    with monkeypatch.context() as patch:
        patch.setattr(openvino.Core, "compile_model", None)  # only the cache is left
        assert digest(open_(inverse, window=(8, 8)), 8, 8) == fresh
    for blob in blobs:
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
    assert digest(open_(inverse, window=(8, 8)), 8, 8) == fresh
    blobs[0].chmod(0o666)
    assert digest(open_(inverse, window=(8, 8)), 8, 8) == fresh


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    inverse: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "file"))
    assert digest(open_(inverse), 4, 4)


def test_the_precision_is_the_manifests_and_never_openvinos_choice(
    inverse: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    compile_model = openvino.Core.compile_model

    def spy(self: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        seen.append(config["INFERENCE_PRECISION_HINT"])
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    open_(inverse)
    assert seen == ["f32"]
    with pytest.raises(runtime.BackendError, match="no inference precision 'fast'"):
        backends.open_session("openvino", inverse, Numerics(False, "float32", "fast"), 1)


def test_what_openvino_refuses_is_one_line(inverse: bytes) -> None:
    with pytest.raises(runtime.BackendError, match="OpenVINO refuses the graph") as refused:
        open_(b"no graph")
    assert "\n" not in str(refused.value)
    with pytest.raises(
        runtime.BackendError, match=r"OpenVINO failed on lr \[1, 2, 4, 4\]"
    ) as failed:
        open_(inverse).run(feeds(4, 4) | {"lr": np.zeros((1, 2, 4, 4), np.float32)})
    assert "\n" not in str(failed.value)


def test_auto_takes_it_where_there_is_no_gpu(inverse: bytes) -> None:
    session = backends.open_session("auto", inverse, NUMERICS, 1)
    assert type(session).__name__ == "OpenVinoSession"
    assert "openvino" in backends.available()


@pytest.mark.parametrize(
    ("backend", "advice"), [("openvino", "[openvino]"), ("auto", "[cpu]"), ("onnxruntime", "[cpu]")]
)
def test_without_it_the_others_work_and_asking_for_it_says_what_to_install(
    backend: str, advice: str, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['openvino'] = None; sys.modules['onnxruntime'] = None\n"
        "import numpy, runtime\n"
        f"model = runtime.load({str(tmp_path / 'b')!r}, backend={backend!r})\n"
        "try: model.upscale(numpy.zeros((2, 2)))\n"
        "except runtime.BackendError as error: print(error)"
    )
    write_bundle(tmp_path / "b")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"pip install 'hcflow-deploy{advice}'" in run.stdout


def test_a_model_runs_on_it_through_its_tiles(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", tile=8, overlap=2)
    image = np.random.default_rng(0).integers(0, 256, (21, 30, 3), np.uint8)
    on = {name: runtime.load(folder, backend=name) for name in ("openvino", "onnxruntime")}
    images = [model.upscale(image, tau=0.5) for model in on.values()]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1


_FIRST_USES = """
import sys, threading
from runtime import backends
assert "openvino" in backends.available()
import openvino
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def work():
    together.wait()
    openvino.Type.f32.to_dtype()  # as in every first inference

threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
"""


def test_first_inferences_at_the_same_time_do_not_wait_for_each_other_for_ever() -> None:
    for _ in range(4):  # each process has one first use; without care two in five never end
        subprocess.run([sys.executable, "-c", _FIRST_USES], cwd=ROOT, check=True, timeout=300)


_SIGNAL = """
import gc, signal, sys
import numpy as np
import runtime
models = [runtime.load(sys.argv[1], backend="openvino", threads=1) for _ in range(2)]
for model in models:
    model.upscale(np.zeros((4, 4, 3), np.uint8))
while models:
    model = models.pop(0)
    del model
    gc.collect()
noted = []
signal.signal(signal.SIGTERM, lambda *_: noted.append(1))
signal.raise_signal(signal.SIGTERM)
assert noted == [1]
"""


def test_a_signal_after_models_are_gone_reaches_its_handler(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    subprocess.run([sys.executable, "-c", _SIGNAL, str(bundle)], cwd=ROOT, check=True)
