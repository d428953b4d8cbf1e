"""Texts from outside: which are refused, and how one is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.protocol.texts import check_host, is_host, is_line, shown


@pytest.mark.parametrize(
    "host",
    ["db-1", "db_1", "db-1.example.org", "10.0.0.5", "::1", "fd00::5", "fe80::1%eth0", "localhost"],
)
def test_a_host_is_a_name_or_an_ip_address(host):
    assert is_host(host)
    assert check_host(host) == host


@pytest.mark.parametrize(
    "text",
    [
        "$(touch /tmp/x)",
        "db;reboot",
        "db 1",
        "db'1",
        'db"1',
        "db\n1",
        "-oProxyCommand=x",
        "http://db-1",
        "db-1:5432",
        "fe80::1%$(x)",
        "/run/postgresql",
        "x" * 254,
        "dß-1",
    ],
)
def test_what_a_shell_or_a_client_could_misread_is_no_host(text):
    assert not is_host(text)
    with pytest.raises(ValueError, match="a host name or an IP address"):
        check_host(text)


def test_no_address_is_one_too():
    assert check_host("") == ""


@pytest.mark.parametrize("text", ["zone b", "Ännchen", "東京　一", "👩‍💻", "[/x]", ""])
def test_a_line_may_hold_what_people_write(text):
    assert is_line(text)


@pytest.mark.parametrize(
    "text", ["a\nb", "a\rb", "\x1b]0;x\x07", "a\u2028b", "\u202eabc", "\x9b1m"]
)
def test_what_steers_a_terminal_is_no_line(text):
    assert not is_line(text)
    assert shown(text) != text


@given(st.text())
def test_what_is_shown_is_one_line_and_steers_nothing(text):
    line = shown(text)
    assert line.isprintable()
    assert len(line) == len(text)
    assert shown(line) == line


@given(st.text(max_size=20))
def test_a_host_needs_no_quotes_anywhere(text):
    if is_host(text):
        assert not set(text) & set(" \t\n'\"\\`$;&|<>()[]{}*?!#~=/,")
        assert not text.startswith("-")
