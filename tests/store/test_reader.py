"""The journal as the web room sees it, read while it is written."""

import asyncio
import sqlite3
import threading

import pytest

from beatward.core.entry import ActionRecord, Entry, Event, NodeRecord, public
from beatward.errors import PermanentError
from beatward.store.reader import JournalReader
from beatward.store.sqlite import SqliteStore


def entry(sequence, event=Event.TRANSITION, node="web-1", **fields):
    return Entry(sequence, event, sequence * 1_000_000, node=node, **fields)


def ids(objects):
    return [found["id"] for found in objects]


def test_before_there_is_a_file_every_answer_is_empty(reader):
    assert reader.events(after=0, limit=10) == []
    assert reader.last_sequence() == 0
    assert reader.last_verdict("web-1") is None
    assert reader.actions(limit=10) == []


def test_a_file_without_tables_is_empty_too(reader, path):
    path.touch()
    assert reader.events(after=0, limit=10) == []
    assert reader.last_sequence() == 0


def test_a_reader_that_came_first_sees_what_is_written_later(reader, store, offset):
    assert reader.last_sequence() == 0
    store.append([entry(1)], wall_offset_ns=offset)
    assert reader.last_sequence() == 1


def test_an_event_is_what_the_core_calls_public(reader, store, offset):
    told = Entry(
        1,
        Event.TRANSITION,
        123_999_999,
        node="web-1",
        status="suspect",
        cause="silence",
        explanation="web-1 suspected: silent 2.31 s — ja",
        detail={"silent_ns": 2_310_000_000, "labels": {"zone": "a"}, "list": [1, 2.5, None]},
        node_record=NodeRecord("web-1", 1, "suspect", "silence", 5),
    )
    done = Entry(2, Event.OUTCOME, 1_000_000_000, action="page", outcome="success")
    store.append([told, done], wall_offset_ns=offset)
    first, second = reader.events(after=0, limit=10)
    assert first == {
        "id": 1,
        "event": "transition",
        "at": "2023-11-14T22:13:20.123Z",
        "node": "web-1",
        "status": "suspect",
        "cause": "silence",
        "explanation": "web-1 suspected: silent 2.31 s — ja",
        "action": None,
        "outcome": None,
        "detail": {"silent_ns": 2_310_000_000, "labels": {"zone": "a"}, "list": [1, 2.5, None]},
    }
    assert first == public(told, "2023-11-14T22:13:20.123Z")
    assert second == public(done, "2023-11-14T22:13:21.000Z")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"after": 0, "limit": 3}, [1, 2, 3]),
        ({"after": 3, "limit": 3}, [4, 5, 6]),
        ({"after": 9, "limit": 3}, [10]),
        ({"after": 10, "limit": 3}, []),
        ({"after": 0, "limit": 3, "newest_first": True}, [10, 9, 8]),
        ({"after": 8, "limit": 3, "newest_first": True}, [10, 9]),
        ({"after": 0, "limit": 9, "node": "web-1"}, [2, 4, 6, 8, 10]),
        ({"after": 4, "limit": 2, "node": "web-1"}, [6, 8]),
        ({"after": 0, "limit": 2, "node": "web-1", "newest_first": True}, [10, 8]),
        ({"after": 0, "limit": 2, "node": "web-9"}, []),
    ],
)
def test_events_are_found_by_number_and_node(reader, store, asked, found):
    entries = [entry(number, node="web-1" if number % 2 == 0 else None) for number in range(1, 11)]
    store.append(entries, wall_offset_ns=0)
    assert ids(reader.events(**asked)) == found


def test_the_last_verdict_is_the_newest_bad_transition_of_that_node(reader, store):
    told = [
        entry(1, status="suspect", explanation="first"),
        entry(2, status="dead", explanation="second"),
        entry(3, Event.ACTION, status="dead", action="page"),
        entry(4, status="alive"),
        entry(5, node="web-2", status="left"),
        entry(6, Event.LIFE, status="alive"),
    ]
    store.append(told, wall_offset_ns=0)
    assert reader.last_verdict("web-1")["explanation"] == "second"
    assert reader.last_verdict("web-2")["id"] == 5
    assert reader.last_verdict("web-3") is None


def test_actions_are_shown_with_their_last_change(reader, store, offset):
    def deed(sequence, key, state, node="web-1"):
        record = ActionRecord(key, "page", "webhook", node, state, 1, {"status": "dead"})
        return entry(sequence, Event.ACTION, action_record=record)

    told = [deed(1, "a", "decided"), deed(2, "b", "decided", "web-2"), deed(3, "a", "done")]
    store.append(told, wall_offset_ns=offset)
    newest, older = reader.actions(limit=5)
    assert newest == {
        "id": 3,
        "at": "2023-11-14T22:13:20.003Z",
        "key": "a",
        "action": "page",
        "kind": "webhook",
        "node": "web-1",
        "state": "done",
        "attempt": 1,
        "event": {"status": "dead"},
    }
    assert older["key"] == "b"
    assert ids(reader.actions(limit=1)) == [3]
    assert ids(reader.actions(limit=5, state="decided")) == [2]
    assert ids(reader.actions(limit=5, node="web-1")) == [3]


def test_odd_details_are_shown_as_nearly_as_can_be(reader, store):
    numbers = {"nan": float("nan"), "huge": float("inf"), "fine": 1.5}
    odd = [entry(1, detail=numbers), entry(2, explanation="a\udcffb", detail={"text": "\udcff"})]
    store.append(odd, wall_offset_ns=0)
    first, second = reader.events(after=0, limit=5)
    assert first["detail"] == {"nan": None, "huge": None, "fine": 1.5}
    assert second["explanation"] == "a?b"
    assert second["detail"]["unwritable"] == "{'text': '\\udcff'}"


def test_the_reader_cannot_write(reader, store):
    connection = reader._open()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM entries")
    connection.close()


def test_a_damaged_file_is_named_to_the_reader(reader, path):
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(PermanentError, match=r"journal\.sqlite3 is damaged"):
        reader.last_sequence()


def test_reading_beside_the_writer_shows_whole_transactions_in_order(path, entry_for):
    store, reader = SqliteStore(path), JournalReader(path)
    written = threading.Event()

    def write():
        for start in range(1, 3001, 10):
            store.append([entry_for(start + i) for i in range(10)], wall_offset_ns=0)
        written.set()

    async def read():
        """Follow the journal as the event stream does, four at once."""
        seen, views = 0, 0
        while not (written.is_set() and seen == 3000):
            found = ids(await asyncio.to_thread(reader.events, after=seen, limit=4000))
            assert found == list(range(seen + 1, seen + 1 + len(found)))
            assert len(found) % 10 == 0
            seen += len(found)
            views += bool(found)
        return views

    async def read_all():
        return await asyncio.gather(*(read() for _ in range(4)))

    writer = threading.Thread(target=write)
    writer.start()
    views = asyncio.run(asyncio.wait_for(read_all(), 50))
    writer.join()
    store.close()
    reader.close()
    # Otherwise everybody only saw the end.
    assert max(views) > 5
