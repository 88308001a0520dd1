"""Video through pipes: colours kept, order kept, a frame out for a frame in, one line when cut."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hcflow.cli.conversion.video import relay
from runtime import HcflowError
from runtime.images import video
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def _open(head: bytes, **options: object) -> video.Stream:
    options = {"kind": "y4m", "max_pixels": 10**6, **options}
    return video.open_stream(io.BytesIO(head), **options)  # type: ignore[arg-type]


def _smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [
        0.5 + 0.3 * np.sin(x / 9),
        0.5 + 0.3 * np.cos(y / 7),
        0.4 + 0.2 * np.sin((x + y) / 11),
    ]
    return np.stack(planes, axis=-1).astype(np.float32)


@pytest.mark.parametrize("layout", ["420jpeg", "420mpeg2", "422", "444"])
@pytest.mark.parametrize("depth", ["", "p10"])
@pytest.mark.parametrize("colour_range", video.RANGES)
@pytest.mark.parametrize("matrix", video.MATRICES)
def test_a_frame_comes_back_from_every_layout(
    layout: str, depth: str, colour_range: str, matrix: str
) -> None:
    if depth:
        layout = layout.removesuffix("jpeg").removesuffix("mpeg2")
    head = f"YUV4MPEG2 W37 H23 F25:1 C{layout}{depth}\n".encode()
    stream = _open(head, matrix=matrix, colour_range=colour_range)
    frame = _smooth(23, 37)
    data = video.encode(frame, stream)
    read = video.read_frame(io.BytesIO(data), stream, 0)
    assert read is not None
    assert np.abs(video.decode(read, stream) - frame).max() < (0.012 if "444" in layout else 0.05)


def test_known_colours_have_their_samples() -> None:
    red = np.zeros((2, 2, 3), np.float32)
    red[..., 0] = 1
    samples = {
        ("bt601", "limited"): (81, 90, 240),
        ("bt709", "limited"): (63, 102, 240),
        ("bt601", "full"): (76, 85, 255),
    }
    for (matrix, colour_range), expected in samples.items():
        stream = _open(b"YUV4MPEG2 W2 H2 C444\n", matrix=matrix, colour_range=colour_range)
        data = video.encode(red, stream).removeprefix(b"FRAME\n")
        assert tuple(data[::4]) == expected


def test_the_head_is_honoured_and_passed_on() -> None:
    stream = _open(b"YUV4MPEG2 W640 H720 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n")
    assert (stream.matrix, stream.is_full) == ("bt709", True)
    head = stream.sized(8, 4).header()
    assert head == b"YUV4MPEG2 W8 H4 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n"
    assert _open(b"YUV4MPEG2 W640 H480\n").matrix == "bt601"
    head = b"YUV4MPEG2 W8 H4 XWHO=\xff\xe4\n"  # a tag of no use to us need not be ASCII
    assert _open(head).header() == head


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "standard input is empty"),
        (b"RIFF....AVI \n", "not a Y4M stream"),
        (b"YUV4MPEG2 W4" + b"4" * 2000, "cut off"),
        (b"YUV4MPEG2 H4\n", "no size"),
        (b"YUV4MPEG2 W0 H4\n", "no size"),
        (b"YUV4MPEG2 W99999 H99999\n", "the limit is 1000000"),
        (
            b"YUV4MPEG2 W4 H4 C420alpha\n",
            "'420alpha' of the Y4M stream is not supported",
        ),
    ],
)
def test_what_is_no_stream_is_one_line(head: bytes, message: str) -> None:
    with pytest.raises(HcflowError, match=re.escape(message)):
        _open(head)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "avi"}, "unknown video kind 'avi'"),
        ({"kind": "rgb24"}, "--frame-size"),
        ({"matrix": "bt1"}, "unknown colour matrix 'bt1'"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(HcflowError, match=re.escape(message)):
        _open(b"YUV4MPEG2 W4 H4\n", **options)


RAW = ("--video", "rgb24", "--frame-size", "2x2")


def _command(bundle: Path, *options: object) -> list[str]:
    words = [sys.executable, "-m", "hcflow", "upscale", "-", "-o", "-", "--model", bundle, *options]
    return [str(word) for word in words]


def _run(bundle: Path, data: bytes, *options: object) -> tuple[int, bytes, bytes]:
    run = subprocess.run(
        _command(bundle, *options), input=data, cwd=ROOT, capture_output=True, check=False
    )
    return run.returncode, run.stdout, run.stderr


def test_frames_keep_their_order_and_latents(bundle: Path) -> None:
    frames = [bytes([40 * i]) * 36 for i in range(5)]
    raw = ("--video", "rgb24", "--frame-size", "4x3", "--tau", "0.5")
    code, out, err = _run(bundle, b"".join(frames), *raw, "--jobs", 3)
    assert (code, err) == (0, b"")
    size = 16 * 36
    alone = [_run(bundle, frame, *raw)[1] for frame in (frames[0], frames[3])]
    assert [out[:size], out[3 * size : 4 * size]] == alone
    same = _run(bundle, frames[2] * 2, *raw)[1]
    assert same[:size] == same[size:]
    other = _run(bundle, frames[2] * 2, *raw, "--vary-latents")[1]
    assert other[:size] == same[:size]
    assert other[size:] != same[size:]


def test_a_seed_that_was_drawn_is_told(bundle: Path) -> None:
    raw = (*RAW, "--tau", "0.5", "--seed")
    _, out, err = _run(bundle, bytes(12), *raw, "random")
    told = re.fullmatch(r"hcflow: seed (\d+)\n", err.decode())
    assert told is not None
    assert _run(bundle, bytes(12), *raw, told[1]) == (0, out, b"")


def test_a_frame_comes_out_before_the_next_goes_in(bundle: Path) -> None:
    process = subprocess.Popen(
        _command(bundle, "--video", "y4m"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    frame = b"FRAME\n" + bytes(range(24))
    process.stdin.write(b"YUV4MPEG2 W4 H4 F25:1\n" + frame)
    process.stdin.flush()
    assert process.stdout.readline() == b"YUV4MPEG2 W16 H16 F25:1\n"
    first = process.stdout.read(6 + 16 * 16 * 3 // 2)
    assert first.startswith(b"FRAME\n")
    rest, _ = process.communicate(frame, timeout=60)
    assert rest == first


def test_ctrl_c_does_not_wait_for_frames_that_are_computed() -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise KeyboardInterrupt
            return super().read(size)

    forever, before = threading.Event(), set(threading.enumerate())
    stream = video.Stream("gray", 2, 2, "", 8)

    def convert(frame: np.ndarray, index: int) -> np.ndarray:
        forever.wait()
        return frame

    try:
        with pytest.raises(KeyboardInterrupt):
            relay(Interrupted(bytes(8)), io.BytesIO(), stream, stream, convert, 1)
    finally:
        forever.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_a_cut_stream_is_one_line_after_its_whole_frames(bundle: Path) -> None:
    data = b"YUV4MPEG2 W4 H4\nFRAME\n" + bytes(24) + b"FRAME\n" + bytes(7)
    code, out, err = _run(bundle, data, "--video", "y4m")
    assert (code, out.count(b"FRAME")) == (1, 1)
    assert err == b"hcflow: error: standard input ends within frame 2: 7 of 24 bytes\n"


def test_a_video_goes_through_pipes_only(bundle: Path) -> None:
    words = _command(bundle, "--video", "y4m")
    words[words.index("-o") + 1] = "out.y4m"
    run = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
    assert run.returncode == 2
    assert b"works through pipes" in run.stderr


@pytest.mark.parametrize(
    "words",
    [
        (*RAW, "--uncertainty", "heat.png"),
        (*RAW, "--strips"),
        (*RAW, "--format", "JPEG"),
        (*RAW, "--json"),
        (*RAW, "--matrix", "bt709"),
        (*RAW, "--range", "full"),
        (*RAW, "--size", "99x99"),
        ("--video", "rgb24", "--frame-size", "0x2"),
        ("--frame-size", "2x2"),
        ("--matrix", "bt709"),
        ("--vary-latents",),
        (*RAW, "--vary-latents"),
        (*RAW, "--tau", "0", "--vary-latents"),
    ],
)
def test_an_option_that_would_have_no_effect_is_named_before_anything_is_written(
    bundle: Path, words: tuple[str, ...]
) -> None:
    code, out, error = _run(bundle, bytes(12), *words)
    assert code != 0
    assert out == b""
    named = {"--size": "size 99", "0x2": "frames of 0"}
    blamed = words[-1] if words[-1].startswith("--") or words[-1] == "0x2" else words[-2]
    blamed = "--frame-size" if words == ("--frame-size", "2x2") else blamed
    assert named.get(blamed, blamed) in error.decode()


def test_an_empty_raw_stream_is_an_error(bundle: Path) -> None:
    code, out, error = _run(bundle, b"", *RAW)
    assert (code, out) == (1, b"")
    assert error == b"hcflow: error: standard input is empty: it ends before frame 1\n"


def test_an_interlaced_stream_is_warned_of(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    _open(b"YUV4MPEG2 W2 H2 Ip\n")
    assert caplog.text == ""
    _open(b"YUV4MPEG2 W2 H2 It\n")
    assert "the stream is interlaced (It)" in caplog.text
