"""Raw socket addresses, checked against literal bytes and against the system's own text."""

import ipaddress
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.transport import peer_row, peer_text
from beatward.transport.peer import socket_address

LOW = sys.byteorder == "little"
V4 = b"\x02\x00" if LOW else b"\x00\x02"
V6 = b"\x0a\x00" if LOW else b"\x00\x0a"
TWO = b"\x02\0\0\0" if LOW else b"\0\0\0\x02"

# address as Python's sockets give it, the row, the text
TABLE = [
    (("1.2.3.4", 5678), V4 + b"\x16\x2e\x01\x02\x03\x04" + bytes(20), "1.2.3.4:5678"),
    (("255.255.255.255", 65535), V4 + b"\xff" * 6 + bytes(20), "255.255.255.255:65535"),
    (
        ("::1", 7227, 0, 0),
        V6 + b"\x1c\x3b" + bytes(4) + bytes(15) + b"\x01" + bytes(4),
        "[::1]:7227",
    ),
    (
        ("fe80::1%eth0", 1, 0, 2),
        V6 + b"\0\x01" + bytes(4) + b"\xfe\x80" + bytes(13) + b"\x01" + TWO,
        "[fe80::1%2]:1",
    ),
    (
        ("::ffff:10.0.0.9", 80, 0, 0),
        V6 + b"\0\x50" + bytes(4) + bytes(10) + b"\xff\xff\x0a\0\0\x09" + bytes(4),
        "10.0.0.9:80",
    ),
]


@pytest.mark.parametrize(("address", "row", "text"), TABLE, ids=[row[2] for row in TABLE])
def test_an_address_is_written_as_the_kernel_does_and_printed_as_people_do(address, row, text):
    assert peer_row(address).tobytes() == row
    assert peer_text(row) == text
    assert peer_text(peer_row(address)) == text


@pytest.mark.parametrize("row", [bytes(28), b"", b"\x63" + bytes(27), b"\x02\0" + bytes(20)])
def test_a_row_without_an_address_is_the_empty_text(row):
    assert peer_text(row) == ""
    assert socket_address(row, socket.AF_INET) is None


@pytest.mark.parametrize(
    "address",
    [("localhost", 1), ("1.2.3", 1), ("", 1), ("1.2.3.4", -1), ("1.2.3.4", 65536), ("::g", 1)],
)
def test_what_is_not_a_numeric_address_is_refused_with_its_text(address):
    with pytest.raises(ValueError, match="is not a numeric address with a port") as caught:
        peer_row(address)
    assert repr(address) in str(caught.value)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_property_every_v4_address_comes_back(host, port):
    row = peer_row((str(host), port))
    assert socket_address(row, socket.AF_INET) == (str(host), port)
    assert socket_address(row, socket.AF_INET6) == (f"::ffff:{host}", port, 0, 0)


@given(st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_property_every_v6_address_comes_back(host, port, scope):
    if host.ipv4_mapped:
        return  # Shown as the IPv4 address it is; the table has one.
    row = peer_row((str(host), port, 0, scope))
    found = socket_address(row, socket.AF_INET6)
    assert found is not None
    assert (ipaddress.ip_address(found[0]), *found[1:]) == (host, port, 0, scope)
