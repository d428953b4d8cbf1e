"""The file of epochs: whole or not at all, and never taken for empty."""

import json
import stat
import threading

import pytest

from beatward.core.protocol.keys import node_id
from beatward.errors import ConfigError, TemporaryError
from beatward.server.key_book import KEYS_FILE, KeyBook


def test_a_folder_without_the_file_has_revoked_nothing(tmp_path):
    book = KeyBook(tmp_path)
    assert book.epochs() == {}
    assert book.epoch(node_id("web-1")) == 0
    assert [*tmp_path.iterdir()] == []


def test_an_epoch_is_on_disk_when_it_is_told(tmp_path):
    book = KeyBook(tmp_path)
    assert [book.revoke("web-1"), book.revoke("web-1"), book.revoke("db-1")] == [1, 2, 1]
    assert book.epochs() == {node_id("web-1"): 2, node_id("db-1"): 1}
    assert KeyBook(tmp_path).epochs() == book.epochs()
    assert stat.S_IMODE((tmp_path / KEYS_FILE).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]


def test_two_that_revoke_at_once_lose_nothing(tmp_path):
    books = [KeyBook(tmp_path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda book=book: [book.revoke("web-1") for _ in range(5)])
        for book in books
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert KeyBook(tmp_path).epoch(node_id("web-1")) == 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\xff",
        '{"version": 2, "epochs": {}}',
        '{"version": 1}',
        '{"version": 1, "epochs": {}, "more": 1}',
        '{"version": 1, "epochs": {"no name": 1}}',
        '{"version": 1, "epochs": {"web-1": 0}}',
        '{"version": 1, "epochs": {"web-1": true}}',
        '{"version": 1, "epochs": {"web-1": 4294967296}}',
    ],
)
def test_a_damaged_file_is_an_error_and_never_epoch_0(tmp_path, text):
    (tmp_path / KEYS_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"keys\.json: the epochs of keys: found .* backup"):
        KeyBook(tmp_path)


def test_a_file_that_was_damaged_since_is_not_written_over(tmp_path):
    book = KeyBook(tmp_path)
    book.revoke("web-1")
    (tmp_path / KEYS_FILE).write_text("{")
    with pytest.raises(TemporaryError, match="the key of web-1 is not revoked"):
        book.revoke("web-1")
    assert (tmp_path / KEYS_FILE).read_text() == "{"
    assert book.epoch(node_id("web-1")) == 1


def test_a_link_in_the_place_of_the_fresh_file_is_not_followed(tmp_path):
    import os

    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / f"keys.json.{os.getpid()}").symlink_to(other)
    KeyBook(tmp_path).revoke("web-1")
    assert other.read_text() == "kept"
    assert json.loads((tmp_path / KEYS_FILE).read_text())["epochs"] == {"web-1": 1}
