"""The verdict in two stages against the best that only listens, on the same path and budget.

Stage one is the deadline of the default detector. When it passes, nothing is said: the node is
probed for a window W, a probe every s, and only if neither a fresh heartbeat nor an answer has come
when W is over is it held to be dead, as `core.membership` does it. An answer proves life for one
interval and margin from its arrival, as `core.hearing` has it, and says nothing about the schedule.

Probes and answers go through the same path as heartbeats, each way by itself: the same loss, delay
and outages. A node that is paused answers when its pause is over, if it was not too late by then.

The rival is NFD-E, `chen`, alone. It may send as many messages a second as node and monitor send
together in two stages (so its interval is shorter), and its margin is set in hindsight so that it
makes as many mistakes on the same outages and pauses. Both run the detector of production.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beatward.backtest import Arrivals, measure
from beatward.backtest.quality import detection_times, trusted_until
from beatward.backtest.replay import deadlines_and_margins, warm_up
from beatward.core.arrays import FloatArray, IntArray
from beatward.core.detect import DetectorSettings
from beatward.core.instants import HOUR, MILLISECOND, MINUTE, SECOND
from beatward.simulate.traces import (
    Bernoulli,
    Lognormal,
    Trace,
    TracePath,
    TraceWeather,
    beat,
    generator,
    spells,
)


@dataclass(frozen=True, slots=True)
class ProbeChannel:
    """A path, an interval, and the windows (W, s) that are tried.

    outage_every_ns  they last 0.8 s in the median, 10 min at most, and the sender pauses every
                     20 min, 0.1 s in the median, 1 min at most; None: neither
    """

    interval_ns: int
    loss_probability: float
    outage_every_ns: int | None
    hours: float
    windows: tuple[tuple[float, float], ...]


# Round numbers of ours, no measurement.
CHANNELS: dict[str, ProbeChannel] = {
    "A": ProbeChannel(SECOND, 0.01, None, 1000.0, ((0.5, 0.1), (1.0, 0.2))),
    "B": ProbeChannel(SECOND, 0.005, 6 * HOUR, 2000.0, ((0.25, 0.05), (1.0, 0.2), (2.0, 0.4))),
    "C": ProbeChannel(5 * SECOND, 0.005, 6 * HOUR, 6000.0, ((0.25, 0.05), (1.0, 0.2))),
    "D": ProbeChannel(10 * SECOND, 0.02, 2 * HOUR, 8000.0, ((1.0, 0.2),)),
}
# Of stage one: what the default learns, and one from the settings, that no pause can widen.
MARGINS_NS = (None, 160 * MILLISECOND)
DELAY = Lognormal(5 * MILLISECOND, 5 * MILLISECOND, 15 * MILLISECOND)
# Margins of the rival, in intervals: from hardly any to several lost heartbeats.
_MARGINS = (0.1, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.1, 3.8, 4.7, 6.0, 8.0, 12.0, 20.0)


@dataclass(frozen=True, slots=True)
class Suspicions:
    """What a round of probing led to, for each of k suspicions.

    answered_ns, answer_sent_ns  (k,) of no meaning where no answer came in the window
    messages                     probes and answers that were sent, lost ones included
    """

    mistaken: np.ndarray[Any, np.dtype[np.bool_]]
    answered: np.ndarray[Any, np.dtype[np.bool_]]
    answered_ns: IntArray
    answer_sent_ns: IntArray
    messages: int


def weather_of(channel: ProbeChannel, rng: np.random.Generator, span_ns: int) -> TraceWeather:
    """Draw outages and pauses; the same for the two stages and their rival."""
    if channel.outage_every_ns is None:
        return TraceWeather()
    outages = spells(
        rng,
        span_ns,
        every_ns=channel.outage_every_ns,
        median_ns=0.8 * SECOND,
        sigma=1.2,
        longest_ns=10 * MINUTE,
    )
    pauses = spells(
        rng, span_ns, every_ns=20 * MINUTE, median_ns=0.1 * SECOND, sigma=1.0, longest_ns=MINUTE
    )
    return TraceWeather(outages=outages, sender_pauses=pauses)


@dataclass(frozen=True, slots=True)
class StageOne:
    """What the detector made of a trace: the heartbeats counted, trust and margin after each."""

    beats: Arrivals
    until_ns: IntArray
    margin_ns: IntArray


def measure_channel(name: str, seed: int, share: float) -> Iterator[dict[str, Any]]:
    """Yield one row for each margin and window of a channel; `share` of its hours."""
    channel = CHANNELS[name]
    span_ns = round(channel.hours * share * HOUR)
    weather = weather_of(channel, generator(seed, f"channel {name} weather"), span_ns)
    path = TracePath(DELAY, Bernoulli(channel.loss_probability), weather)
    rng = generator(seed, f"channel {name} heartbeats")
    beats = beat(rng, path, channel.interval_ns, span_ns // channel.interval_ns)
    for margin_ns in MARGINS_NS:
        stage = _stage_one(beats, DetectorSettings(margin_ns=margin_ns))
        for window_s, spacing_s in channel.windows:
            rng = generator(seed, f"channel {name} window {window_s}")
            windows = round(window_s * SECOND), round(spacing_s * SECOND)
            stages = _two_stages(rng, path, stage, *windows)
            interval_ns = round(channel.interval_ns / (1.0 + stages["extra"]))
            rival = beat(rng, path, interval_ns, span_ns // interval_ns)
            yield {
                "channel": name,
                "margin": "learnt" if margin_ns is None else "set",
                "interval_s": channel.interval_ns / SECOND,
                "window_s": window_s,
                "spacing_s": spacing_s,
                **stages,
                **_rival(rival, stages["mistakes"], stages["mistake_rate"]),
            }


def _arrivals(trace: Trace) -> Arrivals:
    return Arrivals(trace.interval_ns, trace.sequence, trace.sent_ns, trace.arrived_ns)


def _stage_one(trace: Trace, settings: DetectorSettings) -> StageOne:
    whole = _arrivals(trace)
    skipped = min(warm_up(settings), len(whole) // 4)
    beats = whole.part(skipped, len(whole))
    deadline, margin = deadlines_and_margins(whole, settings, skipped=skipped)
    return StageOne(beats, trusted_until(beats, deadline), margin)


def _two_stages(
    rng: np.random.Generator, path: TracePath, stage: StageOne, window_ns: int, spacing_ns: int
) -> dict[str, Any]:
    beats, until = stage.beats, stage.until_ns
    fresh_at = _next_fresh(beats.arrived_ns, until)
    begins = np.flatnonzero((until < fresh_at) & (until >= beats.arrived_ns))
    suspected, fresh_ns = until[begins], fresh_at[begins]
    proof_ns = beats.interval_ns + stage.margin_ns[begins]
    sent, trusted, mistakes, messages = [beats.sent_ns], [until], 0, 0
    while len(suspected):
        found = probe(rng, path, suspected, fresh_ns, window_ns=window_ns, spacing_ns=spacing_ns)
        mistakes += int(found.mistaken.sum())
        messages += found.messages
        alive = found.answered
        again = found.answered_ns[alive] + proof_ns[alive]
        sent.append(found.answer_sent_ns[alive])
        trusted.append(again)
        # Silence may last beyond what the answer proved: a second suspicion, a third ...
        once_more = again < fresh_ns[alive]
        suspected, fresh_ns = again[once_more], fresh_ns[alive][once_more]
        proof_ns = proof_ns[alive][once_more]
    hours = float(beats.arrived_ns[-1] - beats.arrived_ns[0]) / HOUR
    mean, p99, most = _detection(np.concatenate(sent), np.concatenate(trusted) + window_ns)
    return {
        "margin_s": float(np.median(stage.margin_ns)) / SECOND,
        "mistakes": mistakes,
        "mistake_rate": mistakes / hours,
        "hours": hours,
        "extra": messages / int(beats.sequence[-1] - beats.sequence[0] + 1),
        "detection_mean_s": mean,
        "detection_p99_s": p99,
        "detection_max_s": most,
    }


def _next_fresh(arrived_ns: IntArray, until_ns: IntArray) -> IntArray:
    """Return when the next heartbeat after each arrives that is fresh; the last one's: its own."""
    fresh = np.where(until_ns > arrived_ns, arrived_ns, np.iinfo(np.int64).max)
    later = np.minimum.accumulate(fresh[::-1])[::-1]
    return np.concatenate((later[1:], arrived_ns[-1:]))


def probe(
    rng: np.random.Generator,
    path: TracePath,
    suspected_ns: IntArray,
    fresh_ns: IntArray,
    *,
    window_ns: int,
    spacing_ns: int,
) -> Suspicions:
    """Probe k suspects that are suspected at these instants.

    fresh_ns  (k,) when the next heartbeat comes that refutes by itself
    """
    each = np.arange(0, window_ns, spacing_ns, dtype=np.int64)
    probed = suspected_ns[:, None] + each
    heard, lost = _way(rng, path, probed)
    replied = path.weather.sender_pauses.after(heard.reshape(-1)).reshape(heard.shape)
    back, lost_back = _way(rng, path, replied)
    never = np.iinfo(np.int64).max
    back = np.where(lost | lost_back, never, back)
    first = back.argmin(axis=1)[:, None]
    answered_ns = np.take_along_axis(back, first, axis=1)[:, 0]
    end = suspected_ns + window_ns
    answered = (answered_ns < end) & (answered_ns < fresh_ns)
    mistaken = ~answered & (fresh_ns > end)
    # A node that was heard is probed no more.
    stop = np.minimum(np.minimum(answered_ns, fresh_ns), end)
    asked = probed < stop[:, None]
    return Suspicions(
        mistaken=mistaken,
        answered=answered,
        answered_ns=answered_ns,
        answer_sent_ns=np.take_along_axis(replied, first, axis=1)[:, 0],
        messages=int(asked.sum() + (asked & ~lost).sum()),
    )


def _way(
    rng: np.random.Generator, path: TracePath, sent_ns: IntArray
) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return when messages sent at these instants arrive, and which are lost."""
    flat = sent_ns.reshape(-1)
    lost = path.loss.draw(rng, len(flat)) | path.weather.outages.cover(flat)
    arrived = flat + np.rint(path.delay.draw(rng, len(flat))).astype(np.int64)
    return arrived.reshape(sent_ns.shape), lost.reshape(sent_ns.shape)


def _detection(sent_ns: IntArray, until_ns: IntArray) -> tuple[float, float, float]:
    """Return mean, p99 and max of detection times; `until_ns` is when each word would end in one.

    Each crash follows the last word sent before it, a heartbeat or an answer.
    """
    order = np.argsort(sent_ns, kind="stable")
    sent, until = sent_ns[order], until_ns[order]
    longest: FloatArray = (until - sent)[:-1] / SECOND
    return detection_times(longest, np.diff(sent) / SECOND)


def _rival(trace: Trace, mistakes: int, mistake_rate: float) -> dict[str, Any]:
    def settings_of(margin_ns: float) -> DetectorSettings:
        return DetectorSettings(kind="chen", margin_ns=round(margin_ns))

    margins: Sequence[float] = [trace.interval_ns * share for share in _MARGINS]
    curve = measure(_arrivals(trace), margins, settings_of, fewest=max(mistakes, 1))
    point = curve.at(mistake_rate)
    if point is None:
        return {"passive_mean_s": None, "passive_p99_s": None, "passive_max_s": None}
    return {
        "passive_mean_s": point.detection_mean_s,
        "passive_p99_s": point.detection_p99_s,
        "passive_max_s": point.detection_max_s,
    }
