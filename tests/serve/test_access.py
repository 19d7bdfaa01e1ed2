from __future__ import annotations

from pathlib import Path

import pytest
from conftest import each

from ftlight.serve.access import Access, read_token, settle
from ftlight.utils.errors import UserError


def test_a_token_is_asked_for_if_there_is_one() -> None:
    def check(token: str, header: str, allowed: bool) -> None:
        assert Access(token).allows(header) == allowed

    each(
        [
            ("", "", True),
            ("", "Bearer x", True),
            ("abc", "Bearer abc", True),
            ("abc", "bearer  abc", True),
            ("abc", "Bearer abcd", False),
            ("abc", "Bearer", False),
            ("abc", "Basic abc", False),
            ("abc", "abc", False),
            ("abc", "", False),
            ("abc", "Bearer äbc", False),
        ],
        check,
    )


def test_a_host_that_others_reach_needs_a_token() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        assert settle(host, "").token == ""
    for host in ("0.0.0.0", "::", "box", "192.168.0.1"):
        assert settle(host, "abc").token == "abc"
        with pytest.raises(UserError, match=f"--host {host} can be reached by others"):
            settle(host, "")


def test_without_a_token_only_names_of_this_machine_are_answered() -> None:
    def check(header: str, meant: bool) -> None:
        assert Access().is_meant(header) == meant
        assert Access("abc").is_meant(header)

    each(
        [
            ("127.0.0.1:8000", True),
            ("localhost", True),
            ("LOCALHOST:1", True),
            ("[::1]:8000", True),
            ("[::1]", True),
            ("", True),
            ("evil.example:8000", False),
            ("127.0.0.1.evil.example", False),
            ("localhost.evil.example:80", False),
        ],
        check,
    )


def test_without_a_token_no_page_of_another_site_is_answered() -> None:
    for site in ("", "none", "same-origin", "same-site"):
        assert Access().is_meant("127.0.0.1:8000", site)
    assert not Access().is_meant("127.0.0.1:8000", "cross-site")
    assert Access("abc").is_meant("127.0.0.1:8000", "cross-site")


def test_a_token_is_read_from_a_file_or_the_environment() -> None:
    Path("token").write_text("from-file\n")
    assert read_token("token", {"FTLIGHT_TOKEN": "other"}) == "from-file"
    assert read_token("", {"FTLIGHT_TOKEN": "other"}) == "other"
    assert read_token("", {}) == ""
    Path("empty").write_text("\n")
    Path("two").write_text("a\nb")
    Path("bytes").write_bytes(b"\xff")

    def check(path: str, environment: dict[str, str], line: str) -> None:
        with pytest.raises(UserError, match=line):
            read_token(path, environment)

    each(
        [
            ("empty", {}, "--token_file empty: holds no token"),
            ("two", {}, "holds no token"),
            ("bytes", {}, "cannot be read"),
            ("none", {}, "cannot be read"),
            ("", {"FTLIGHT_TOKEN": ""}, "FTLIGHT_TOKEN: holds no token"),
        ],
        check,
    )
