"""The order of events: by time, then by entry, and nothing else."""

from beatward.simulate.agenda import Agenda


def test_events_of_one_instant_happen_in_the_order_they_were_entered():
    agenda, told = Agenda(), []
    for word in ("c", "a", "b"):
        agenda.at(5, told.append, word)
    agenda.at(3, told.append, "first")
    agenda.run_until(10)
    assert told == ["first", "c", "a", "b"]
    assert agenda.now_ns == 10


def test_an_event_may_enter_others_and_the_past_means_now():
    agenda, told = Agenda(), []

    def begin():
        agenda.at(1, told.append, agenda.now_ns)
        agenda.after(2, lambda: told.append(agenda.now_ns))

    agenda.at(5, begin)
    agenda.run_until(6)
    assert told == [5]
    agenda.run_until(7)
    assert told == [5, 7]


def test_what_is_due_later_waits():
    agenda, told = Agenda(), []
    agenda.at(8, told.append, "late")
    agenda.run_until(7)
    assert (told, agenda.count) == ([], 0)
