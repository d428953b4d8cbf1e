"""Durations read and printed: literal tables, and that what is written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.instants import (
    DAY,
    HOUR,
    MICROSECOND,
    MILLISECOND,
    MINUTE,
    NEVER,
    SECOND,
    format_duration,
    parse_duration,
    unparse_duration,
)


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1ns", 1),
        ("2us", 2_000),
        ("250ms", 250_000_000),
        ("2s", 2_000_000_000),
        ("5m", 300_000_000_000),
        ("3h", 10_800_000_000_000),
        ("30d", 2_592_000_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1d2h3m4s5ms6us7ns", 93_784_005_006_007),
        ("0s", 0),
        (" 2s\n", 2_000_000_000),
        # Integer arithmetic: a float would make it 100000000.00000001.
        ("0.1s", 100_000_000),
        ("1.000000001s", 1_000_000_001),
        # What is finer than a nanosecond is cut off.
        ("0.0000000019s", 1),
    ],
)
def test_a_duration_is_read(text, expected_ns):
    assert parse_duration(text) == expected_ns


@pytest.mark.parametrize(
    "text", ["", " ", "5", "5 s", "s", "1x", "-1s", "1s30", "30 1s", "1.s", ".5s", "1,5s", "1s x"]
)
def test_what_is_no_duration_is_refused_with_the_form_it_should_have(text):
    with pytest.raises(ValueError, match="write it like 250ms, 2s, 1m30s or 30d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0 s"),
        (1, "1 ns"),
        (999, "999 ns"),
        (1_000, "1 us"),
        (1_234_567, "1.23 ms"),
        (250 * MILLISECOND, "250 ms"),
        (2_310 * MILLISECOND, "2.31 s"),
        (-2_310 * MILLISECOND, "-2.31 s"),
        (99_900 * MILLISECOND, "99.9 s"),
        (100 * SECOND, "100 s"),
        (119 * SECOND, "119 s"),
        (2 * MINUTE, "2 min"),
        (119 * MINUTE, "119 min"),
        (2 * HOUR, "2 h"),
        (47 * HOUR, "47 h"),
        (2 * DAY, "2 d"),
        (30 * DAY, "30 d"),
        # Rounding up to four digits, and long times, must not fall into `1e+03`.
        (999_600 * MICROSECOND, "1000 ms"),
        (999_999, "1000 us"),
        (3_650 * DAY, "3650 d"),
        (NEVER - 1, "107000 d"),
        (NEVER, "never"),
    ],
)
def test_a_duration_is_printed_for_people(duration_ns, expected):
    assert format_duration(duration_ns) == expected


@given(st.integers(min_value=-NEVER, max_value=NEVER))
def test_no_duration_is_printed_with_an_exponent(duration_ns):
    assert "e+" not in format_duration(duration_ns)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0ns"),
        (1, "1ns"),
        (1_500, "1500ns"),
        (2_000, "2us"),
        (250 * MILLISECOND, "250ms"),
        (SECOND, "1s"),
        (90 * SECOND, "90s"),
        (5 * MINUTE, "5m"),
        (2 * HOUR, "2h"),
        (30 * DAY, "30d"),
    ],
)
def test_a_duration_is_written_as_short_as_can_be(duration_ns, expected):
    assert unparse_duration(duration_ns) == expected


@given(st.integers(min_value=0, max_value=NEVER))
def test_what_is_written_is_read_back_exactly(duration_ns):
    assert parse_duration(unparse_duration(duration_ns)) == duration_ns
