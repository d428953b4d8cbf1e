"""The order of events: by time, then by entry, and nothing else."""

from beatward.simulate.event_queue import EventQueue


def test_events_of_one_instant_happen_in_the_order_they_were_entered():
    event_queue, told = EventQueue(), []
    for word in ("c", "a", "b"):
        event_queue.at(5, told.append, word)
    event_queue.at(3, told.append, "first")
    event_queue.run_until(10)
    assert told == ["first", "c", "a", "b"]
    assert event_queue.now_ns == 10


def test_an_event_may_enter_others_and_the_past_means_now():
    event_queue, told = EventQueue(), []

    def begin():
        event_queue.at(1, told.append, event_queue.now_ns)
        event_queue.after(2, lambda: told.append(event_queue.now_ns))

    event_queue.at(5, begin)
    event_queue.run_until(6)
    assert told == [5]
    event_queue.run_until(7)
    assert told == [5, 7]


def test_what_is_due_later_waits():
    event_queue, told = EventQueue(), []
    event_queue.at(8, told.append, "late")
    event_queue.run_until(7)
    assert (told, event_queue.count) == ([], 0)
