"""What is really so: spans of trouble, and since when nothing can be heard."""

from beatward.simulate.truth import History, NodeTruth, Trouble


def told(*spans):
    """Return a node's truth after troubles, each (trouble, begin, end or None)."""
    truth = NodeTruth("a", 1)
    marks = [(begin, 0, trouble) for trouble, begin, _ in spans]
    marks += [(end, 1, trouble) for trouble, _, end in spans if end is not None]
    for at, ends, trouble in sorted(marks):
        (truth.history.end if ends else truth.history.begin)(trouble, at)
    return truth


def test_the_same_trouble_twice_at_once_is_one_span():
    history = History()
    for at in (1, 3):
        history.begin(Trouble.CUT_UP, at)
    for at in (5, 9):
        history.end(Trouble.CUT_UP, at)
    assert [(span.begin_ns, span.end_ns) for span in history.spans] == [(1, 9)]
    assert not history.has(Trouble.CUT_UP)


def test_silence_is_joined_over_causes_that_touch():
    truth = told((Trouble.FROZEN, 2, 7), (Trouble.DOWN, 7, None), (Trouble.CUT_UP, 20, None))
    assert truth.silent_since_ns(30) == 2
    assert truth.is_silent()


def test_silence_ends_where_a_word_could_be_said():
    truth = told((Trouble.DOWN, 2, 7), (Trouble.CUT_UP, 9, None))
    assert truth.silent_since_ns(30) == 9
    assert truth.silent_since_ns(8) is None


def test_a_cut_towards_the_node_silences_nobody():
    truth = told((Trouble.CUT_DOWN, 2, None))
    assert truth.silent_since_ns(30) is None
    assert not truth.is_silent()


def test_spans_are_found_by_the_time_they_touch():
    truth = told((Trouble.DOWN, 2, 7), (Trouble.FROZEN, 9, None))
    found = [span.trouble for span in truth.history.within(7, 8)]
    assert found == [Trouble.DOWN]
    assert [span.trouble for span in truth.history.within(8, 9)] == [Trouble.FROZEN]
