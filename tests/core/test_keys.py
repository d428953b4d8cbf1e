"""Every secret follows from the master key: literal vectors, and that no two are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.protocol import keys

MASTER = bytes(range(32))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("web-1", True),
        ("a", True),
        ("9", True),
        ("db.eu-1@rack:7_b", True),
        ("x" * 128, True),
        ("", False),
        ("-web", False),
        (".web", False),
        ("x" * 129, False),
        ("web 1", False),
        ("web/1", False),
        ("wéb", False),
        ("web-1\n", False),
        ("web\0", False),
    ],
)
def test_a_name_is_letters_digits_and_a_few_signs(name, allowed):
    assert keys.is_name(name) is allowed


# The same vectors are in docs/protocol.md; test_protocol_page.py compares.
def test_secrets_are_derived_as_in_the_protocol_page():
    node = keys.node_id("web-1")
    key = keys.node_key(MASTER, node)
    assert f"{node:016x}" == "9f8c9bb86743b6db"
    assert key.hex() == "f0918931d13b852190cce2bf499a8082b776a9f46c4c509d77013f7215acc6fb"
    assert keys.bearer(key) == "bwn1_vqcbn6wm54sdys7hnbtjmcbqrrtswnfz"
    assert keys.ping_key(key) == "yro3q6ieqxtos6tqldvq7scpzd27nef6"
    assert keys.api_token(MASTER) == "bwa1_pspozbyzaicmp5a5j3slcbdkl3ycpfqg"


def test_no_secret_says_anything_about_another():
    key = keys.node_key(MASTER, keys.node_id("web-1"))
    other = keys.node_key(MASTER, keys.node_id("web-2"))
    foreign = keys.node_key(bytes(32), keys.node_id("web-1"))
    secrets = [
        keys.bearer(key)[5:],
        keys.ping_key(key),
        keys.bearer(other)[5:],
        keys.ping_key(other),
        keys.bearer(foreign)[5:],
        keys.api_token(MASTER)[5:],
        key.hex(),
        other.hex(),
    ]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) == 32 for secret in secrets[:6])


@given(st.text())
def test_an_identity_is_never_zero_and_fits_64_bits(name):
    assert 0 < keys.node_id(name) < 2**64


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [("abc", "abc", True), ("abc", "abd", False), ("abc", "ab", False), ("é", "é", True)],
)
def test_secrets_are_compared_whatever_letters_they_hold(left, right, equal):
    assert keys.same(left, right) is equal
