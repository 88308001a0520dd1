"""A server takes on what it can finish: the rest is refused in words, and nobody holds it up."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hcflow.serving import server as serving_server
from hcflow.serving.exchange import Exchange
from hcflow.serving.limits import Held, Limits, RefusedError
from hcflow.serving.server import ImpatientProtocol
from tests.support.serving import PATIENCE, Running, noise, pixels, png, running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Running]:
    """A server of which one request may wait."""
    limits = Limits(waiting=1, body_bytes=100_000, patience=5.0)
    with running(tmp_path / "tiny", limits) as made:
        yield made


def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never came true")


def _raw(server: Running, data: bytes) -> bytes:
    """What comes back for bytes that are sent whole before anything is read."""
    with socket.create_connection(server.address, PATIENCE) as link:
        link.sendall(data)
        answer = b""
        while block := link.recv(1 << 16):
            answer += block
        return answer


def test_one_request_too_many_is_refused_and_the_others_get_their_own_answers(
    small: Running,
) -> None:
    held = small.hold()
    pictures = [noise(4 + i, 5, seed=i) for i in range(4)]  # three have threads, one waits

    def post(index: int) -> httpx.Response:
        with httpx.Client(timeout=PATIENCE) as client:
            return client.post(f"{small.url}/v1/upscale", content=png(pictures[index]))

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(post, i) for i in range(4)]
        held.wait()
        workers = small.service.workers
        until(lambda: workers.running + workers.waiting == 4)
        refused = small.client.post("/v1/upscale", content=png(pictures[0]))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert small.client.get("/health/live").status_code == 200
        held.go.set()
        for picture, answer in zip(pictures, answers, strict=True):
            assert np.array_equal(pixels(answer.result().content), small.model.upscale(picture))
    # A client may read an answer before the server has let go of what it was made from.
    until(lambda: (workers.running, workers.waiting, small.service.held.size) == (0, 0, 0))


def test_a_burst_mixes_up_no_two_answers(server: Running) -> None:
    pictures = [noise(5, 4 + i % 5, seed=i) for i in range(60)]
    expected = [server.model.upscale(picture, seed=i) for i, picture in enumerate(pictures)]

    def post(index: int) -> bytes:
        while True:
            answer = httpx.post(
                f"{server.url}/v1/upscale?seed={index}",
                content=png(pictures[index]),
                timeout=PATIENCE,
            )
            if answer.status_code != 503:
                return answer.content

    with ThreadPoolExecutor(30) as threads:
        for made, right in zip(threads.map(post, range(60)), expected, strict=True):
            assert np.array_equal(pixels(made), right)


def test_what_takes_too_long_is_504_and_stops(tmp_path: Path) -> None:
    with running(tmp_path / "tiny", Limits(seconds=0.2)) as server:
        held = server.hold()
        answer = server.client.post("/v1/upscale", content=png(noise(4, 4)))
        assert answer.status_code == 504
        assert held.cancelled.wait(PATIENCE)
        until(lambda: server.service.workers.running == 0)


def test_work_ends_when_its_client_leaves(small: Running) -> None:
    held = small.hold()
    body = png(noise(4, 4))
    with socket.create_connection(small.address, PATIENCE) as link:
        link.sendall(_head("/v1/upscale", len(body)) + body)
        held.wait()
    assert held.cancelled.wait(PATIENCE)
    held.go.set()
    assert small.client.post("/v1/upscale", content=body).status_code == 200
    until(lambda: small.service.held.size == 0)


def test_who_leaves_while_waiting_takes_its_bytes_along(small: Running) -> None:
    held, body = small.hold(), png(noise(4, 4))
    links = [socket.create_connection(small.address, PATIENCE) for _ in range(4)]
    for link in links:
        link.sendall(_head("/v1/upscale", len(body)) + body)
    until(lambda: small.service.workers.waiting == 1)
    assert small.service.held.size == 4 * len(body)
    for link in links:
        link.close()
    until(lambda: small.service.held.size == 0)
    assert held.cancelled.wait(PATIENCE)
    workers = small.service.workers
    until(lambda: (workers.waiting, workers.running) == (0, 0))


def test_a_body_beyond_the_limit_is_413_for_those_who_send_before_they_read(small: Running) -> None:
    body = bytes(3_000_000)
    sized = _head("/v1/upscale", len(body), b"Connection: close") + body
    assert b" 413 " in _raw(small, sized).splitlines()[0]
    head = b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    answer = _raw(small, chunked)
    assert b" 413 " in answer.splitlines()[0]
    assert b"100000 bytes, the limit" in answer


def test_every_refusal_reaches_those_who_send_before_they_read(small: Running) -> None:
    body = bytes(90_000)
    for path, status in (("/nothing", b" 404 "), ("/v1/upscale?tau=x", b" 422 ")):
        answer = _raw(small, _head(path, len(body), b"Connection: close") + body)
        assert status in answer.splitlines()[0]


def test_who_asks_before_sending_is_told_before_sending(small: Running) -> None:
    with socket.create_connection(small.address, PATIENCE) as link:
        link.sendall(_head("/v1/upscale", 10**12, b"Expect: 100-continue"))
        answer = link.recv(1 << 16)
    assert b" 413 " in answer.splitlines()[0]


def test_clients_that_stall_hold_no_worker_and_are_cut_off(tmp_path: Path) -> None:
    limits = Limits(waiting=0, patience=1.0)
    with running(tmp_path / "tiny", limits) as server:
        stalled = [socket.create_connection(server.address, PATIENCE) for _ in range(8)]
        for link in stalled[:4]:
            link.sendall(_head("/v1/upscale", 1000) + b"half")
        for link in stalled[4:]:
            link.sendall(b"POST /v1/up")
        body = png(noise(4, 4))
        assert server.client.post("/v1/upscale", content=body).status_code == 200
        for link in stalled[:4]:
            assert b" 408 " in link.recv(1 << 16).splitlines()[0]
        for link in stalled:
            link.close()
        until(lambda: server.service.held.size == 0)


def test_a_connection_that_brings_no_request_is_closed(
    small: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_server, "_HEAD_SECONDS", 0.2)
    for start in (b"", b"POST /v1/up"):
        assert _raw(small, start) == b""
    asked = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    assert _raw(small, asked + b"GET").count(b"HTTP/1.1 200") == 1


def _is_left_alone(server: Running) -> bool:
    state = server.server.server_state
    return not (state.connections or state.tasks or server.service.held.size)


def _deaf(server: Running) -> socket.socket:
    """A connection that holds little of what nobody reads from it."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    link.connect(server.address)
    return link


@pytest.fixture
def short_of_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system keeps little of what the server sends: the rest waits in the server."""
    made = ImpatientProtocol.connection_made

    def connection_made(self: ImpatientProtocol, transport: Any) -> None:
        link = transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    monkeypatch.setattr(ImpatientProtocol, "connection_made", connection_made)


def test_a_client_that_does_not_read_its_answer_is_cut_off(tmp_path: Path) -> None:
    limits = Limits(patience=0.5, least_rate=1e9)
    with running(tmp_path / "tiny", limits) as server:
        body = png(noise(400, 400))
        with _deaf(server) as link:
            link.sendall(_head("/v1/upscale?png_level=0", len(body)) + body)
            until(lambda: server.service.held.size > 2_000_000)
            until(lambda: _is_left_alone(server))


@pytest.mark.usefixtures("short_of_buffers")
@pytest.mark.parametrize("path", [b"/", b"/health/live", b"/nothing"])
def test_a_client_that_asks_on_and_never_reads_is_cut_off(tmp_path: Path, path: bytes) -> None:
    limits = Limits(patience=0.5, least_rate=1e9)
    with running(tmp_path / "tiny", limits) as server, _deaf(server) as link:
        link.settimeout(0.5)
        with contextlib.suppress(TimeoutError, ConnectionError):  # the server takes no more
            link.sendall((b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n") * 4000)
        until(lambda: bool(server.server.server_state.total_requests))
        until(lambda: _is_left_alone(server))


@pytest.mark.usefixtures("short_of_buffers")
@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""])
def test_a_closed_connection_whose_rest_nobody_reads_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    monkeypatch.setattr(serving_server, "_IDLE_SECONDS", 1)
    limits = Limits(patience=1.5, least_rate=1e9)
    with running(tmp_path / "tiny", limits) as server, _deaf(server) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + last + b"\r\n")
        until(lambda: server.server.server_state.total_requests == 1)
        (connection,) = server.server.server_state.connections
        assert connection.transport.get_write_buffer_size() > 0
        until(lambda: _is_left_alone(server))


@pytest.mark.usefixtures("short_of_buffers")
def test_a_slow_client_gets_all_of_an_answer_that_ends_its_connection(tmp_path: Path) -> None:
    with running(tmp_path / "tiny", Limits(patience=5.0)) as server:
        whole = server.client.get("/").content
        with _deaf(server) as link:
            link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while block := link.recv(4096):
                answer += block
        assert answer.partition(b"\r\n\r\n")[2] == whole


def test_one_connection_too_many_is_refused_as_everything_is(tmp_path: Path) -> None:
    with running(tmp_path / "tiny", Limits(connections=1)) as server:
        answer = server.client.get("/health/live")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["connection"] == "close"
        assert "too many connections" in answer.json()["error"]
        assert server.client.post("/v1/upscale", content=bytes(100_000)).status_code == 503


def test_bytes_are_bounded_over_all_requests(tmp_path: Path) -> None:
    with running(tmp_path / "tiny", Limits(held_bytes=50_000)) as server:
        with socket.create_connection(server.address, PATIENCE) as link:
            link.sendall(_head("/v1/upscale", 60_000) + bytes(40_000))
            until(lambda: server.service.held.size == 40_000)
            answer = server.client.post("/v1/upscale", content=bytes(20_000))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        until(lambda: server.service.held.size == 0)


@pytest.mark.usefixtures("short_of_buffers")
def test_results_that_nobody_reads_are_bounded_over_all_requests(tmp_path: Path) -> None:
    limits = Limits(waiting=20, held_bytes=1_000_000)
    with running(tmp_path / "tiny", limits) as server, contextlib.ExitStack() as links:
        held, workers, body = server.hold(), server.service.workers, png(noise(100, 100))
        deaf = [links.enter_context(_deaf(server)) for _ in range(20)]
        for link in deaf:
            link.sendall(_head("/v1/upscale?png_level=0", len(body)) + body)
        until(lambda: workers.running + workers.waiting == len(deaf))
        held.go.set()
        until(lambda: workers.running + workers.waiting == 0)
        result, threads = 400 * 400 * 3 + 1000, 3
        assert server.service.held.size <= limits.held_bytes + threads * result
        statuses = [link.recv(1 << 11).split(b" ")[1] for link in deaf]
        assert set(statuses) == {b"200", b"503"}
        for link in deaf:
            link.close()
        until(lambda: server.service.held.size == 0)
        assert server.client.post("/v1/upscale", content=body).status_code == 200


def test_the_body_of_a_form_is_dropped_once_its_file_is_found(
    small: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, read = threading.Event(), Exchange.body

    class Body(bytes):
        def __del__(self) -> None:
            dropped.set()

    async def body(self: Exchange) -> bytes:
        return Body(await read(self))

    monkeypatch.setattr(Exchange, "body", body)
    held = small.hold()
    with ThreadPoolExecutor(1) as threads:
        files = {"image": png(noise(4, 4))}
        answer = threads.submit(small.client.post, "/v1/upscale", files=files)
        held.wait()
        try:
            assert dropped.wait(10)
        finally:
            held.go.set()
        assert answer.result().status_code == 200


def test_a_lease_gives_back_what_it_took() -> None:
    held = Held(100)
    first, second = held.lease(), held.lease()
    first.take(60)
    with pytest.raises(RefusedError):
        second.take(50)
    second.add(50)  # a result, which is there
    first.close()
    assert held.size == 50
    first.add(7)  # a result that comes when its client has left
    assert held.size == 50


def test_requests_in_a_row_on_one_connection_are_answered_in_order(small: Running) -> None:
    pictures = [noise(3, 3 + i, seed=i) for i in range(3)]
    bodies = [png(picture) for picture in pictures]
    last = b"Connection: close"
    sent = [_head("/v1/upscale", len(b), last if b is bodies[-1] else b"") + b for b in bodies]
    answer = _raw(small, b"".join(sent))
    assert answer.count(b"HTTP/1.1 200") == 3
    for picture, part in zip(pictures, answer.split(b"HTTP/1.1 200 OK")[1:], strict=True):
        assert np.array_equal(pixels(part.partition(b"\r\n\r\n")[2]), small.model.upscale(picture))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/upscale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_closed(small: Running, head: bytes) -> None:
    with contextlib.suppress(ConnectionResetError):  # where more comes than was read
        assert _raw(small, head).split(b" ")[1][:1] in b"45"
    assert small.client.get("/health/live").status_code == 200


def test_a_failing_inference_shows_in_readiness_until_one_passes(
    small: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.errors import BackendError  # noqa: PLC0415
    from runtime.model import Model  # noqa: PLC0415

    def fail(*_: object, **__: object) -> None:
        raise BackendError("the GPU is lost")

    ready = small.client.get("/health/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    with monkeypatch.context() as broken:
        broken.setattr(Model, "upscale", fail)
        assert small.client.post("/v1/upscale", content=png(noise(4, 4))).status_code == 500
        ready = small.client.get("/health/ready")
        assert (ready.status_code, ready.json()["problem"]) == (
            503,
            "the GPU is lost",
        )
        assert small.client.get("/v2/health/ready").status_code == 503
        assert small.client.get("/health/live").status_code == 200
    assert small.client.get("/health/ready").status_code == 200


def test_a_server_that_is_ending_is_not_ready_and_takes_nothing_new(small: Running) -> None:
    small.service.workers.is_closing = True
    for path in ("/health/ready", "/v2/health/ready"):
        assert small.client.get(path).status_code == 503
    assert small.client.get("/health/live").status_code == 200
    assert small.client.post("/v1/upscale", content=png(noise(4, 4))).status_code == 503


def test_a_request_at_fault_does_not_make_the_server_unready(small: Running) -> None:
    assert small.client.post("/v1/upscale", content=b"no image").status_code == 415
    assert small.client.post("/v1/upscale?tau=x", content=b"").status_code == 422
    assert small.client.get("/health/ready").status_code == 200


def test_a_fault_of_the_program_is_500_without_its_words(
    small: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hcflow.serving import service  # noqa: PLC0415

    def fault(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(service, "convert_data", fault)
    answer = small.client.post("/v1/upscale", content=png(noise(4, 4)))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert json.loads(answer.text)["error"].startswith("this is a fault of the program")


def test_what_has_happened_is_counted(small: Running) -> None:
    small.client.post("/v1/upscale", content=png(noise(4, 6)))
    small.client.post("/v1/upscale", content=b"no")
    small.client.get("/v2/models/a")
    small.client.get("/whatever/is/asked")
    text = small.client.get("/metrics").text
    for line in (
        'hcflow_requests_total{code="200",path="/v1/upscale"} 1.0',
        'hcflow_requests_total{code="415",path="/v1/upscale"} 1.0',
        'hcflow_requests_total{code="404",path="/v2/models/{name}"} 1.0',
        'hcflow_requests_total{code="404",path="other"} 1.0',
        'hcflow_pixels_total{direction="upscale",side="in"} 24.0',
        'hcflow_pixels_total{direction="upscale",side="out"} 384.0',
        'hcflow_stage_seconds_count{stage="compute"} 1.0',
        "hcflow_waiting 0.0",
        "hcflow_held_bytes 0.0",
    ):
        assert line in text


def _head(path: str, length: int, more: bytes = b"") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
    head = "\r\n".join(lines).encode()
    return head + (b"\r\n" + more if more else b"") + b"\r\n\r\n"


def test_threads_are_as_many_at_the_end_as_at_the_start(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running(tmp_path / "tiny") as server:
        server.client.post("/v1/upscale", content=png(noise(4, 4)))
    until(lambda: not {t for t in set(threading.enumerate()) - before if "hcflow" in t.name})
