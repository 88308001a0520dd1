"""The C++ runtime builds, installs, passes its own tests under sanitizers, and is linted."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from runtime.system import machine
from tests.support import cpp_library
from tests.support.bundles import write_bundle
from tests.support.cpp_library import ROOT, SOURCE, build, need, run

DOCUMENT = ROOT / "docs" / "cpp.md"

pytestmark = cpp_library.MARKS


slow = cpp_library.SLOW_MARK


def test_its_own_tests_pass_under_address_and_undefined_behaviour_sanitizers(
    sanitized: Path,
) -> None:
    run("ctest", "--preset", "asan", cwd=SOURCE)


def test_its_own_tests_pass_under_the_thread_sanitizer() -> None:
    build("tsan")
    run("ctest", "--preset", "tsan", cwd=SOURCE)


def test_openvino_runs_under_address_and_undefined_behaviour_sanitizers(
    sanitized: Path, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "tiny", default_tau=0.05, tile=8, overlap=2)
    run(
        sanitized / "tests" / "hcflow-overhead", bundle, "20", "13", "3", "openvino", "2",
        env=cpp_library.sanitized_openvino(),
    )  # fmt: skip


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
    run(fuzzer, "-runs=200000", "-max_len=8192", "-seed=1", tmp_path, SOURCE / "fuzz" / "corpus")


@slow
def test_clang_format_changes_nothing() -> None:
    need("clang-format")
    folders = ("include", "src", "programs", "tests", "fuzz")
    files = [f for folder in folders for f in sorted((SOURCE / folder).rglob("*.[ch]*"))]
    run("clang-format", "--dry-run", "--Werror", *files)


@slow
def test_clang_tidy_finds_nothing() -> None:
    need("run-clang-tidy")
    # In parallel, as one file after another takes too long.
    sources = f"^{re.escape(str(SOURCE))}/(src|programs)/"
    run("run-clang-tidy", "-quiet", "-j", str(machine.usable_cpus()), "-p", build("test"), sources)


@slow
@pytest.mark.parametrize("preset", ["windows", "aarch64"])
def test_its_own_tests_pass_on_another_system(preset: str, tmp_path: Path) -> None:
    compiler, emulator = {
        "windows": ("x86_64-w64-mingw32-g++-posix", "wine"),
        "aarch64": ("aarch64-linux-gnu-g++", "qemu-aarch64"),
    }[preset]
    need(compiler, emulator)
    build(preset)
    wine = {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}
    run("ctest", "--preset", preset, cwd=SOURCE, env=os.environ | wine)


def test_later_configurations_use_new_options(tmp_path: Path) -> None:
    need("cmake", "ninja", "c++")
    simulated = SOURCE / "tests" / "simulated"

    def configure(*options: str) -> str:
        return run("cmake", "-G", "Ninja", "-S", SOURCE, "-B", tmp_path, *options)

    plain = configure(
        "-DHCFLOW_PROGRAMS=OFF", "-DHCFLOW_PYTHON=/bin/false",
        f"-DTensorRT_INCLUDE_DIR={simulated / 'tensorrt'}",
        f"-DTensorRT_RTX_INCLUDE_DIR={simulated / 'tensorrt'}",  # TensorRT's headers
        "-DCUDA_RUNTIME_INCLUDE_DIR=/usr/include",
    )  # fmt: skip
    assert "backend tensorrt: TRUE" in plain
    assert "backend tensorrt-rtx: FALSE" in plain
    # The compiler's own folder must not be given again: #include_next would fail.
    commands = (tmp_path / "compile_commands.json").read_text(encoding="utf-8")
    assert f"-isystem{simulated / 'tensorrt'} " in commands
    assert "-isystem/usr/include " not in commands
    assert "CMAKE_BUILD_TYPE:STRING=Release" in (tmp_path / "CMakeCache.txt").read_text("utf-8")
    full = configure(
        f"-DHCFLOW_PYTHON={sys.executable}", f"-DTensorRT_RTX_ROOT={simulated / 'tensorrt_rtx'}"
    )
    assert "backend openvino: 1" in full
    assert "backend tensorrt-rtx: TRUE" in full


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


def test_the_shared_library_is_named_by_its_binary_interface(installed: Path) -> None:
    # UpscaleOptions and DownscaleOptions grew after 0.1, whose library is libhcflow.so.0.1; 3: GPUs
    # are listed, and a model tells its own.
    header = (installed / "include" / "hcflow" / "api.h").read_text(encoding="utf-8")
    (number,) = re.findall(r"#define HCFLOW_ABI_VERSION (\d+)", header)
    assert int(number) >= 3
    library = next(installed.rglob("libhcflow.so"))
    assert f"Library soname: [libhcflow.so.{number}]" in run("readelf", "-d", library)
    assert library.resolve().name == f"libhcflow.so.{number}"


def test_only_public_names_are_exported(installed: Path) -> None:
    library = next(installed.rglob("libhcflow.so"))
    names = run("nm", "-DC", "--defined-only", "--format=just-symbols", library).split("\n")
    c_names = sorted(name for name in names if name.startswith("hcflow_"))
    declared = re.findall(
        r"^HCFLOW_API [^;(]*?(hcflow_\w+)\(",
        (SOURCE / "include" / "hcflow" / "hcflow.h").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert c_names == sorted(declared)
    classes = "Error|Image|Model|backends|gpus|user_cache|version"
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
