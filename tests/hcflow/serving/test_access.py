"""Who is let in: whoever has the token; without one this machine, and no page of another site."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcflow.serving.access import Access, read_token
from hcflow.serving.limits import RefusedError
from hcflow.serving.server import own_names
from runtime.errors import FileError, ParameterError

TOKEN = b"0123456789abcdef"


def _status(access: Access, path: str = "/v1/upscale", **headers: str) -> int:
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        access.check({"path": path, "headers": lines})
    except RefusedError as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer 0123456789abcdef", 200),
        ("bearer  0123456789abcdef ", 200),
        ("Bearer 0123456789abcde", 401),
        ("Bearer 0123456789abcdefg", 401),
        ("Bearer", 401),
        ("Bearer é", 401),
        ("Basic 0123456789abcdef", 401),
        ("0123456789abcdef", 401),
    ],
)
def test_the_token_opens_the_server_and_nothing_else_does(given: str, status: int) -> None:
    assert _status(Access(TOKEN), authorization=given) == status


def test_health_and_the_empty_page_need_no_token() -> None:
    for path in ("/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
        assert _status(Access(TOKEN), path) == 200
    for path in ("/metrics", "/docs", "/openapi.json", "/v1/models", "/v2", "//", "/health/live/"):
        assert _status(Access(TOKEN), path) == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8000", 421),
        ("evil.example@", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_without_a_token_only_this_machines_names_are_answered(host: str, status: int) -> None:
    assert _status(Access(hosts=own_names("127.0.0.1")), host=host) == status


def test_without_a_token_a_page_of_another_site_is_refused() -> None:
    access = Access(hosts=own_names("127.0.0.1"))
    assert _status(access, host="localhost:80", origin="http://localhost:80") == 200
    for origin in ("http://evil.example", "null", "http://localhost:81"):
        assert _status(access, host="localhost:80", origin=origin) == 403


def test_a_token_file_holds_one_long_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    assert read_token(str(path)) == TOKEN
    for bad in (b"", b"short", b"two words of some length", TOKEN * 300, "é".encode() * 20):
        path.write_bytes(bad)
        with pytest.raises(ParameterError, match="token file"):
            read_token(str(path))
    for missing in (tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(FileError, match="cannot read the token file"):
            read_token(str(missing))
