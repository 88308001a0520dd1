"""The C++ runtime: builds, passes its own tests, and gives Python's pixels."""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import runtime
from tests import cpp_library
from tests.bundles import write_bundle
from tests.cpp_library import ROOT, SOURCE, build, need, run

DOCUMENT = ROOT / "docs" / "cpp.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        cpp_library.REQUIRED not in os.environ, reason="minutes of compiling: run `make cpp`"
    ),
]


slow = pytest.mark.skipif(
    cpp_library.SLOW not in os.environ, reason="many minutes more: run `make cpp-slow`"
)


@pytest.fixture(scope="module")
def tested() -> Path:
    return build("test")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build("release"), "--prefix", prefix)
    return prefix


def test_its_own_tests_pass(tested: Path) -> None:
    run("ctest", "--preset", "test", cwd=SOURCE)


@slow
@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_its_own_tests_pass_under_sanitizers(sanitizer: str) -> None:
    build(sanitizer)
    run("ctest", "--preset", sanitizer, cwd=SOURCE)


@slow
def test_its_own_tests_are_clean_under_valgrind() -> None:
    need("valgrind")
    program = build("null") / "tests" / "hcflow-tests"
    quick = "-tce=*cores partition*,*known answers of FIPS*"
    run("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", program, quick)


@slow
def test_the_manifest_reader_survives_the_fuzzer(tmp_path: Path) -> None:
    need("clang++")
    fuzzer = build("fuzz") / "fuzz" / "fuzz-manifest"
    run(fuzzer, "-runs=20000", "-max_len=8192", "-seed=1", tmp_path, SOURCE / "fuzz" / "corpus")


@slow
def test_clang_tidy_and_clang_format_have_nothing_to_say(tested: Path) -> None:
    need("clang-tidy", "clang-format")
    folders = ("include", "src", "programs", "tests", "fuzz")
    files = [f for folder in folders for f in sorted((SOURCE / folder).rglob("*.[ch]*"))]
    run("clang-format", "--dry-run", "--Werror", *files)
    sources = sorted((SOURCE / "src").rglob("*.cpp")) + sorted((SOURCE / "programs").glob("*.cpp"))
    run("clang-tidy", "--quiet", "-p", tested, *sources)


def test_files_are_short() -> None:
    long = [
        str(path)
        for path in SOURCE.rglob("*.[ch]*")
        if len(path.read_text(encoding="utf-8").splitlines()) > 300
    ]
    assert not long


def test_the_version_is_the_distributions(installed: Path) -> None:
    header = (installed / "include" / "hcflow" / "api.h").read_text(encoding="utf-8")
    assert ".".join(re.findall(r"#define HCFLOW_VERSION_\w+ (\d+)", header)) == version(
        "hcflow-deploy"
    )


def test_only_the_public_names_leave_the_library(installed: Path) -> None:
    library = next(installed.rglob("libhcflow.so"))
    names = run("nm", "-DC", "--defined-only", "--format=just-symbols", library).split("\n")
    c_names = sorted(name for name in names if name.startswith("hcflow_"))
    declared = re.findall(
        r"^HCFLOW_API [^;(]*?(hcflow_\w+)\(",
        (SOURCE / "include" / "hcflow" / "hcflow.h").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert c_names == sorted(declared)
    classes = "Error|Image|Model|backends|user_cache|version"
    allowed = rf"(typeinfo (name )?for |vtable for )?hcflow::({classes})\b.*"
    others = [n for n in names if n and n not in c_names and not re.fullmatch(allowed, n)]
    assert others == []


def _snippets(language: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("kind", ["release", pytest.param("static", marks=slow)])
def test_an_installed_library_is_found_by_cmake_and_pkg_config_and_the_snippets_compile(
    kind: str, tmp_path: Path
) -> None:
    need("pkg-config")
    prefix, project = tmp_path / "prefix", tmp_path / "project"
    run("cmake", "--install", build(kind), "--prefix", prefix)
    project.mkdir()
    (cmake_lists,) = _snippets("cmake")
    (project / "CMakeLists.txt").write_text(cmake_lists, encoding="utf-8")
    codes = _snippets(r"cpp")
    (project / "main.cpp").write_text(codes[0], encoding="utf-8")
    options = [f"-DCMAKE_PREFIX_PATH={prefix}"]
    if kind == "static":
        options += [f"-DOpenVINO_DIR={_openvino_cmake()}"]
    run("cmake", "-G", "Ninja", "-S", project, "-B", tmp_path / "out", *options)
    run("cmake", "--build", tmp_path / "out")

    flags = run(
        "pkg-config", *(["--static"] if kind == "static" else []), "--cflags", "--libs", "hcflow",
        env={"PKG_CONFIG_PATH": str(next(prefix.rglob("pkgconfig"))), "PATH": "/usr/bin:/bin"},
    ).split()  # fmt: skip
    for i, code in enumerate(codes):
        source = project / f"snippet{i}.cpp"
        source.write_text(code, encoding="utf-8")
        run("c++", "-std=c++17", "-Wall", "-Werror", source, "-o", source.with_suffix(""), *flags,
            f"-Wl,-rpath,{next(prefix.rglob('libhcflow*')).parent}")  # fmt: skip
    for code in _snippets("c"):
        source = project / "snippet.c"
        source.write_text(code, encoding="utf-8")
        run("cc", "-std=c99", "-Wall", "-Wpedantic", "-Werror", "-c", source, "-o",
            source.with_suffix(".o"), *flags)  # fmt: skip


def _openvino_cmake() -> str:
    spec = importlib.util.find_spec("openvino")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0]) / "cmake")


def _library(installed: Path) -> Path:
    return next(installed.rglob("libhcflow.so"))


@pytest.mark.parametrize("tiles", [None, (8, 3)], ids=["whole", "tiled"])
@pytest.mark.parametrize("form", ["rgb", "rgba", "gray", "gray alpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_small_bundle_gives_pythons_bytes(
    installed: Path, tmp_path: Path, tiles: tuple[int, int] | None, form: str, dtype: str
) -> None:
    bundle = write_bundle(tmp_path / "tiny", default_tau=0.05)
    ours = runtime.load(bundle, backend="openvino", threads=1)
    theirs = cpp_library.Model(_library(installed), bundle, "openvino")
    channels = {"rgb": 3, "rgba": 4, "gray": 1, "gray alpha": 2}[form]
    image = _noise((37, 30, channels), dtype)
    grid = {} if tiles is None else {"tile": tiles[0], "overlap": tiles[1]}
    one, two = theirs.upscale(image, seed=5, **grid), ours.upscale(image, seed=5, **grid)
    if tiles is not None and channels % 2 == 0:
        # Pillow takes rows or columns first, whichever is less work for a band: a float32 bit.
        np.testing.assert_allclose(
            one[..., -1].astype(float), two[..., -1].astype(float), rtol=0, atol=_step(dtype)
        )
        one, two = one[..., :-1], two[..., :-1]
    _equal(one, two)
    _equal(theirs.downscale(image, **grid), ours.downscale(image, **grid))
    theirs.close()


@pytest.fixture(scope="module")
def shipped() -> Path:
    # Minutes of certifying tiles, so kept: both runtimes must agree on whichever bundle it is.
    folder = ROOT / "build" / "cpp" / "bundles" / f"rescale_x4-{version('hcflow-deploy')}"
    if not (folder / "manifest.json").is_file():
        run("hcflow", "build", "--model", "rescale_x4", "--fp16", "--output", folder)
    return folder


@pytest.mark.parametrize("tiles", [None, (12, 6)], ids=["whole", "tiled"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_shipped_model_gives_pythons_bytes(
    installed: Path, shipped: Path, precision: str, tiles: tuple[int, int] | None
) -> None:
    ours = runtime.load(shipped, backend="openvino", precision=precision, threads=1)
    number = ["fp32", "fp16", "int8"].index(precision)
    theirs = cpp_library.Model(_library(installed), shipped, "openvino", number)
    grid = {} if tiles is None else {"tile": tiles[0], "overlap": tiles[1]}
    large = _noise((101, 118, 3), "uint8")
    small = ours.downscale(large, **grid)
    _equal(theirs.downscale(large, **grid), small)
    for tau in (0.0, 0.7):
        _equal(
            theirs.upscale(small, tau=tau, seed=2**40, **grid),
            ours.upscale(small, tau=tau, seed=2**40, **grid),
        )
    theirs.close()


def test_the_example_takes_a_png_down_and_up(
    installed: Path, shipped: Path, tmp_path: Path
) -> None:
    from PIL import Image  # noqa: PLC0415

    pixels = _noise((40, 53, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "in.png")
    program = installed / "bin" / "hcflow-cpp"
    common = ["--bundle", shipped, "--no-cache"]
    run(program, *common, "--down", tmp_path / "in.png", tmp_path / "small.png")
    run(program, *common, "--size", "53x40", tmp_path / "small.png", tmp_path / "out.png")
    model = runtime.load(shipped, backend="openvino")
    small = model.downscale(pixels)
    _equal(np.asarray(Image.open(tmp_path / "small.png")), small)
    _equal(np.asarray(Image.open(tmp_path / "out.png")), model.upscale(small, size=(40, 53)))
    assert len((SOURCE / "programs" / "hcflow_cpp.cpp").read_text().splitlines()) < 150


def test_the_c_example_runs(installed: Path, shipped: Path) -> None:
    answer = run(installed / "bin" / "hcflow-embed", shipped)
    assert answer == "rescale_x4 on openvino: 24x16 to 96x64\n"


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(3).random(shape, np.float32)
    if dtype == "float32":
        return values
    return (values * np.iinfo(dtype).max).astype(dtype)


def _step(dtype: str) -> float:
    return 1.0 if dtype != "float32" else 2**-22


def _equal(one: np.ndarray, two: np.ndarray) -> None:
    assert one.dtype == two.dtype
    np.testing.assert_array_equal(one, two)
