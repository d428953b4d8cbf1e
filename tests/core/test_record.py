"""The record of 64 bytes: what is written is read back, and nothing else is read at all."""

import hashlib
import hmac
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.intake import RECORD
from beatward.core.protocol.record import (
    BODY_SIZE,
    INCARNATION_MAX,
    INTERVAL_MS_MAX,
    NO_GAUGE,
    RECORD_SIZE,
    RECORDS_MAX,
    SEQUENCE_MAX,
    Farewell,
    Flag,
    Kind,
    Record,
    exit_code_field,
    exit_code_from_field,
    exit_code_of,
    gauge,
    open_record,
    seal,
    tag,
    with_exit_code,
)
from beatward.errors import MalformedRecord

KEY = bytes(range(32))

RECORDS = st.builds(
    Record,
    kind=st.sampled_from(Kind),
    node=st.integers(1, 2**64 - 1),
    incarnation=st.integers(0, INCARNATION_MAX),
    sequence=st.integers(0, SEQUENCE_MAX),
    interval_ms=st.integers(1, INTERVAL_MS_MAX),
    slot=st.integers(0, 2**32 - 1),
    status=st.integers(0, 255),
    flags=st.integers(0, 255),
    cpu=st.integers(0, NO_GAUGE),
    memory=st.integers(0, NO_GAUGE),
    load=st.integers(0, NO_GAUGE),
    echo=st.integers(0, 2**32 - 1),
)
EXAMPLE = Record(
    kind=Kind.HEARTBEAT,
    node=0x0102030405060708,
    incarnation=0x1112131415161718,
    sequence=0x2122232425262728,
    interval_ms=0x31323334,
    slot=0x41424344,
    status=1,
    flags=Flag.ACKNOWLEDGE,
    cpu=0x5152,
    memory=0x6162,
    load=0x7172,
    echo=0x81828384,
)


def test_every_field_lies_where_the_table_says():
    data = seal(EXAMPLE, KEY)
    assert data[:BODY_SIZE].hex(" ", 8) == (
        "4257010144434241 3433323101015251 0807060504030201 "
        "1817161514131211 2827262524232221 6261727184838281"
    )
    assert data[BODY_SIZE:] == hmac.new(KEY, data[:BODY_SIZE], hashlib.sha256).digest()[:16]
    assert len(data) == RECORD_SIZE == 64


@given(RECORDS)
def test_what_is_sealed_is_opened(record):
    assert open_record(seal(record, KEY), KEY) == record


@given(RECORDS)
def test_the_view_of_a_batch_reads_what_the_codec_wrote(record):
    row = np.frombuffer(seal(record, KEY), RECORD)[0]
    assert {name: row[name] for name in asdict(record)} == asdict(record)


@given(RECORDS, st.integers(0, RECORD_SIZE * 8 - 1))
def test_one_changed_bit_is_noticed(record, bit):
    data = bytearray(seal(record, KEY))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedRecord):
        open_record(bytes(data), KEY)


def forged(**bytes_at):
    """Change bytes of a good record and seal it again, as only the node itself could."""
    body = bytearray(seal(EXAMPLE, KEY)[:BODY_SIZE])
    for place, value in bytes_at.items():
        body[int(place[1:])] = value
    return bytes(body) + tag(KEY, bytes(body))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "64 bytes, not 0"),
        (seal(EXAMPLE, KEY)[:-1], "64 bytes, not 63"),
        (seal(EXAMPLE, KEY) + b"\0", "64 bytes, not 65"),
        (seal(EXAMPLE, KEY) * 2, "64 bytes, not 128"),
        (forged(_0=0x43), "not a beatward record"),
        (forged(_2=2), "version 2 is spoken here as 1"),
        (seal(EXAMPLE, bytes(32)), "the tag does not fit"),
        (forged(_3=0), "kind 0 is not known"),
        (forged(_3=8), "kind 8 is not known"),
        (forged(_31=0x80), "out of range"),
        (forged(_39=0x40), "out of range"),
    ],
)
def test_what_is_no_record_of_ours_is_refused_and_says_why(data, reason):
    with pytest.raises(MalformedRecord, match=reason):
        open_record(data, KEY)


def test_unknown_flags_are_let_through_for_those_who_come_after_us():
    assert open_record(forged(_13=0xFF), KEY).flags == 0xFF


def test_a_full_datagram_fits_the_smallest_common_mtu():
    assert RECORDS_MAX * RECORD_SIZE == 1408


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, 0xFFFF),
        (math.nan, 0xFFFF),
        (0.0, 0),
        (12.5, 1250),
        (0.004, 0),
        (0.006, 1),
        (100.0, 10_000),
        (655.34, 65_534),
        (656.0, 65_534),
        (math.inf, 65_534),
        (-1.0, 0),
        (-math.inf, 0),
    ],
)
def test_a_gauge_is_written_in_hundredths(value, field):
    assert gauge(value) == field


@pytest.mark.parametrize(
    ("code", "field", "read"),
    [
        (0, 0x0000, 0),
        (1, 0x0001, 1),
        (255, 0x00FF, 255),
        (-1, 0xFFFF, -1),
        (-9, 0xFFF7, -9),
        (-15, 0xFFF1, -15),
        (32_767, 0x7FFF, 32_767),
        (-32_768, 0x8000, -32_768),
        # Windows knows codes of 32 bits; what does not fit is the nearest that does.
        (3_221_225_477, 0x7FFF, 32_767),
        (-100_000, 0x8000, -32_768),
    ],
)
def test_an_exit_code_or_signal_fits_the_field_of_a_goodbye(code, field, read):
    assert exit_code_field(code) == field
    assert exit_code_from_field(field) == read


@given(st.integers(-(2**31), 2**32 - 1))
def test_every_exit_code_of_32_bits_is_read_as_it_was_written(code):
    bare = Record(Kind.GOODBYE, 1, 1, 1, 1000, status=Farewell.EXITED, flags=Flag.ACKNOWLEDGE)
    said = open_record(seal(with_exit_code(bare, code), b"k" * 32), b"k" * 32)
    assert exit_code_of(said.flags, said.cpu, said.memory, said.load) == code
    # A monitor that does not know the flag reads the nearest that it can.
    assert exit_code_from_field(said.cpu) == max(-32_768, min(code, 32_767))
    assert bool(said.flags & Flag.WIDE_CODE) != (-32_768 <= code <= 32_767)


def test_the_numbers_on_the_wire_never_change():
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("HEARTBEAT", 1),
        ("ACKNOWLEDGEMENT", 2),
        ("PROBE", 3),
        ("PROBE_REPLY", 4),
        ("GOODBYE", 5),
        ("STANDING", 6),
        ("GRANT", 7),
    ]
    assert [(flag.name, flag.value) for flag in Flag] == [
        ("ACKNOWLEDGE", 1),
        ("MAIL", 2),
        ("RELAYED", 4),
        ("SLOWING", 8),
        ("STARTED", 16),
        ("WIDE_CODE", 32),
    ]
    assert [(farewell.name, farewell.value) for farewell in Farewell] == [
        ("LEFT", 0),
        ("EXITED", 1),
    ]
