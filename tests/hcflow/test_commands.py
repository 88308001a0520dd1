"""The command line: right pictures, one-line errors, exit codes a script can trust."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow.cli import console, program
from runtime import FileError
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str


class Runner:
    """Calls `hcflow` in this process, with the tiny bundle where a model is asked for."""

    def __init__(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
    ) -> None:
        self.bundle, self._patch, self._capture = bundle, monkeypatch, capture

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Result:
        words = [str(a) for a in arguments]
        if words and words[0] in ("upscale", "downscale") and "--model" not in words:
            words += ["--model", str(self.bundle)]
        self._patch.setattr(sys, "argv", ["hcflow", *words])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            program.main()
        out, err = self._capture.readouterr()
        return Result(caught.value.code or 0, out, err.decode())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Runner:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    return Runner(bundle, monkeypatch, capsysbinary)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def _error(result: Result, code: int = 1) -> str:
    assert result.code == code
    assert "Traceback" not in result.err
    assert result.out == b""
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("hcflow: error: ")
    return lines[0]


def _usage(result: Result) -> str:
    assert result.code == 2
    assert "Traceback" not in result.err
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.err).split())


def test_down_and_up_gives_a_picture_of_the_first_size(run: Runner, picture: Path) -> None:
    small, large = picture.with_name("small.png"), picture.with_name("large.png")
    assert run("downscale", picture, "-o", small).code == 0
    assert Image.open(small).size == (4, 3)
    assert run("upscale", small, "-o", large, "--size", "13x10").code == 0
    assert Image.open(large).size == (13, 10)


def test_json_says_what_was_done(run: Runner, picture: Path) -> None:
    output = picture.with_name("out.png")
    result = run(
        "upscale",
        picture,
        "-o",
        output,
        "--tau",
        "0.5",
        "--seed",
        "random",
        "--samples",
        2,
        "--json",
    )
    report = json.loads(result.out)
    names = [str(picture.with_name(f"out-{i}.png")) for i in (1, 2)]
    assert report["outputs"] == names
    assert (report["size"], report["tau"]) == ([52, 40], 0.5)
    assert result.err == f"hcflow: seed {report['seed']}\n"
    assert not output.exists()
    first, second = (Path(name).read_bytes() for name in names)
    assert first != second
    run("upscale", picture, "-o", output, "--tau", "0.5", "--seed", report["seed"])
    assert output.read_bytes() == first


def test_standard_input_and_output_carry_images_only(run: Runner, picture: Path) -> None:
    result = run("downscale", "-", "-o", "-", stdin=picture.read_bytes())
    assert result.code == 0
    assert re.match(
        r"standard output: 4×3, tiny_x4, fp32 on \S.*, \d+\.\d s; \d+ bytes", result.err
    )
    assert result.err.count("\n") == 1
    image = Image.open(io.BytesIO(result.out))
    assert (image.format, image.size) == ("PNG", (4, 3))
    result = run("downscale", "-", "-o", "-", "--format", "bmp", stdin=picture.read_bytes())
    assert Image.open(io.BytesIO(result.out)).format == "BMP"
    message = _usage(run("upscale", picture, "-o", "-", "--samples", 2))
    assert "standard output takes one image and nothing else" in message


def test_an_image_may_come_through_a_named_pipe(run: Runner, picture: Path, tmp_path: Path) -> None:
    pipe, output = tmp_path / "pipe", tmp_path / "out.png"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(picture.read_bytes()))
    writer.start()
    assert run("upscale", pipe, "-o", output).code == 0
    writer.join()
    assert Image.open(output).size[0] == 4 * Image.open(picture).size[0]


@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="no names for descriptors")
def test_an_image_may_go_to_a_pipe_that_has_no_name(run: Runner, picture: Path) -> None:
    read_end, write_end = os.pipe()
    output = f"/dev/fd/{write_end}"
    assert run("downscale", picture, "-o", output, "--format", "png").code == 0
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        assert Image.open(io.BytesIO(pipe.read())).size == (4, 3)


def test_the_input_is_not_overwritten_without_force(run: Runner, picture: Path) -> None:
    before = picture.read_bytes()
    assert "--force overwrites it" in _usage(run("downscale", picture, "-o", picture))
    link = picture.with_name("link.png")
    link.symlink_to(picture)
    assert "--force overwrites it" in _usage(run("downscale", picture, "-o", link))
    assert picture.read_bytes() == before
    assert run("downscale", picture, "-o", picture, "--force").code == 0
    assert Image.open(picture).size == (4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.xyz"], "unknown image suffix '.xyz'"),
        (["-o", "nowhere/out.png"], "the folder 'nowhere' does not exist"),
        (["--tau", "-1"], "τ is -1.0: it must be a finite number, 0 or more"),
        (["--seed", "-3", "--tau", "1"], "seed is -3"),
        (["--size", "999x9"], "size 999×9 is too large: this model gives at most 16×"),
        (["--backend", "abacus"], "unknown backend 'abacus'"),
        (["--precision", "fp16"], "its inverse graph in fp32, not in fp16"),
        (["--max-pixels", "100"], "13×10 pixels, the limit is 100: raise --max-pixels"),
    ],
)
def test_what_fails_ends_in_one_line(
    run: Runner, picture: Path, options: list[str], message: str
) -> None:
    output = [] if "-o" in options else ["-o", picture.with_name("out.png")]
    assert message in _error(run("upscale", picture, *output, *options))
    assert [p.name for p in picture.parent.iterdir()] == ["in.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "big"], "give width x height in pixels, as 640x480"),
        (["--size", 5000 * "9" + "x4"], "give width x height in pixels, as 640x480"),
        (["--seed", "lucky"], "give a whole number, or random"),
        (["--threads", "0"], "threads"),
        (["--samples", "0"], "samples"),
        (["--precision", "fp4"], "precision"),
        (["--format", "eps"], "one of PNG, TIFF"),
        (["--colour"], "No such option"),
        (["--uncertainty", "OUTPUT"], "cannot be both the picture and its heat map"),
        (["--uncertainty", "-", "--json"], "standard output takes one image and nothing else"),
        (["--uncertainty", "h.png", "--strips"], "--strips does not work with --uncertainty"),
        (["--uncertainty", "h.png", "--tau", "0"], "--uncertainty has no effect at τ = 0"),
        (["--uncertainty", "h.png"], "--uncertainty has no effect at τ = 0"),
        (["--samples", "2"], "--samples has no effect at τ = 0"),
        (["--tau-map", "INPUT"], "--tau-map has no effect at τ = 0"),
    ],
)
def test_wrong_usage_is_exit_code_two(
    run: Runner, picture: Path, options: list[str], message: str
) -> None:
    output = picture.with_name("out.png")
    named = {"INPUT": str(picture), "OUTPUT": str(output)}
    options = [named.get(each, each) for each in options]
    assert message in _usage(run("upscale", picture, "-o", output, *options))
    assert [p.name for p in picture.parent.iterdir()] == ["in.png"]


def test_uncertainty_is_of_one_image(run: Runner, picture: Path) -> None:
    folder = picture.parent
    heat = ["--uncertainty", folder / "h.png", "--tau", 1]
    message = _usage(run("upscale", folder, "-o", folder / "out", *heat))
    assert "--uncertainty does not work with a folder" in message


def test_bad_inputs_end_in_one_line(run: Runner, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    letter = tmp_path / "letter.png"
    letter.write_text("Dear reader")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:-30])
    assert "is not an image" in _error(run("upscale", letter, "-o", output))
    assert "is damaged" in _error(run("upscale", cut, "-o", output))
    assert "there is no such file" in _error(run("upscale", tmp_path / "no.png", "-o", output))
    assert "standard input is empty" in _error(run("upscale", "-", "-o", output))
    Image.new("RGBA", (4, 4)).save(picture)
    jpeg = tmp_path / "out.jpg"
    assert "JPEG cannot hold alpha: write PNG" in _error(run("upscale", picture, "-o", jpeg))
    assert not output.exists()
    assert not jpeg.exists()


def test_names_with_what_a_terminal_obeys_are_shown_escaped(
    run: Runner, picture: Path, tmp_path: Path
) -> None:
    for name in ("a\x1b[31m.png", "a\x9b31m.png", "a\nb.png"):
        done = run("upscale", tmp_path / name, "-o", tmp_path / "out.png")
        assert done.code == 1
        assert done.err.count("\n") == 1
        assert not {"\x1b", "\x9b"} & set(done.err)
    strange = tmp_path / os.fsdecode(b"b\xff\x1b[31m.png")
    strange.write_bytes(picture.read_bytes())
    assert "\x1b[31m" not in run("upscale", strange, "-o", strange).err
    page = tmp_path / "page.html"
    assert run("compare", strange, "-o", page, "--model", run.bundle).code == 0
    assert r"<title>b\udcff\x1b[31m.png</title>" in page.read_text(encoding="utf-8")


def test_warnings_of_a_folder_stand_on_one_line_each(tmp_path: Path, bundle: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    name = "a\x1b[31m :car: [red]" + 40 * "long" + ".gif"
    frames[0].save(source / name, "GIF", save_all=True, append_images=frames[1:])
    command = [sys.executable, "-m", "hcflow", "upscale", source, "-o", tmp_path / "out"]
    command += ["--model", bundle, "--format", "bmp"]  # which holds one frame
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (warning, _, _) = done.stderr.decode().split("\n")
    shown = name.replace("\x1b", "\\x1b")
    assert warning.endswith(f"{shown}' has 2 frames: the first is used")


def test_commands_convert_every_frame_from_and_to_files_and_pipes(
    run: Runner, tmp_path: Path
) -> None:
    frames = [Image.new("RGB", (8, 4), colour) for colour in ("red", "blue", "lime")]
    source, small = tmp_path / "in.gif", tmp_path / "small.png"
    frames[0].save(source, "GIF", save_all=True, append_images=frames[1:], duration=40)
    down = run("downscale", source, "-o", small, "--json")
    facts = json.loads(down.out)
    assert (down.code, facts["frames"], facts["size"]) == (0, 3, [2, 1])
    line = run("downscale", source, "-o", small, "--force")
    assert re.match(rf"{re.escape(str(small))}: 2×1, tiny_x4, .*; 3 frames\n", line.err)
    piped = run("upscale", "-", "-o", "-", "--format", "webp", stdin=small.read_bytes())
    assert piped.code == 0, piped.err
    with Image.open(io.BytesIO(piped.out)) as large:
        assert (large.format, large.n_frames, large.size) == ("WEBP", 3, (8, 4))
    up = run("upscale", small, "-o", tmp_path / "large.gif", "--json")
    assert json.loads(up.out)["frames"] == 3
    drawn = run("upscale", source, "-o", tmp_path / "x.png", "--samples", 2, "--tau", 1)
    assert (drawn.code, "in.gif' has 3 frames: several samples" in drawn.err) == (1, True)


def test_a_damaged_bundle_ends_in_one_line(run: Runner, picture: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "damaged")
    for graph in folder.glob("*.onnx"):
        graph.write_bytes(graph.read_bytes()[:-1])
    output = tmp_path / "out.png"
    result = run("upscale", picture, "-o", output, "--model", folder)
    assert "incomplete; fetch or build the bundle again" in _error(result)
    assert "incomplete" in _error(run("verify", folder))
    (folder / "manifest.json").write_text('{"schema": 99}')
    assert "upgrade" in _error(run("info", folder))


def test_debug_shows_the_traceback(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCFLOW_DEBUG", "1")
    with pytest.raises(FileError, match="there is no such file"):
        run("upscale", "no.png", "-o", "out.png")


def test_even_a_fault_of_the_program_is_one_line(
    run: Runner, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.images.pixels.arrays.split", lambda image: 1 // 0)
    message = _error(run("upscale", picture, "-o", picture.with_name("out.png")))
    assert "ZeroDivisionError" in message
    assert "HCFLOW_DEBUG=1" in message


def test_verify_reports_and_judges(run: Runner, tmp_path: Path) -> None:
    result = run("verify", run.bundle, "--json")
    report = json.loads(result.out)
    assert (result.code, report["ok"]) == (0, True)
    (backend,) = [b for b in report["backends"] if b["backend"] == "onnxruntime"]
    assert {c["output"] for c in backend["checks"]} == {"hr", "lr", "z1", "z2"}
    assert backend["round_trips"][0]["psnr_db"] > 10
    table = run("verify", run.bundle)
    assert b"round trip fp32" in table.out
    wrong = run("verify", write_bundle(tmp_path / "wrong", gain=1.001))
    assert wrong.code == 1
    assert b"missed" in wrong.out


def test_verify_skips_a_backend_that_does_not_start_here(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["onnxruntime", "onnxruntime-cuda"]
    monkeypatch.setattr("runtime.backends.available", lambda: names)
    monkeypatch.setattr("runtime.backends.onnxruntime.has_cuda", lambda: False)
    report = json.loads(run("verify", run.bundle, "--json").out)
    assert report["ok"]
    assert "has no CUDA" in report["backends"][1]["skipped"]
    asked_for = run("verify", run.bundle, "--backend", "onnxruntime-cuda")
    assert "pip install 'hcflow-deploy[gpu]'" in _error(asked_for)


def test_info_shows_the_manifest(run: Runner) -> None:
    result = run("info", run.bundle)
    assert b"tiny_x4" in result.out
    assert b"rescaling \xc3\x974" in result.out
    manifest = json.loads(run("info", run.bundle, "--json").out)
    assert manifest["graphs"][0]["direction"] == "inverse"


def test_the_spinner_shows_a_label_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0)
    monkeypatch.setenv("TERM", "xterm")
    console.run("verifying '[/]\x1b[31m'", lambda: time.sleep(0.5))
    assert "verifying '[/]\\x1b[31m'" in capsys.readouterr().err


def test_help_names_every_command(run: Runner) -> None:
    text = run("--help").out.decode()
    for command in ("upscale", "downscale", "build", "verify", "info"):
        assert command in text
    assert run("--version").out.startswith(b"hcflow-deploy")
