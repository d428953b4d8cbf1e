"""A world of its own, repeatable by its seed: clock, network, nodes, faults, checkers.

    seed -> Scenario -> World -> WorldReport(digest, violations, counts, journal)

It drives the very `cycle.Cycle`, `core.monitor.Monitor` and
`agent.heartbeat_protocol.HeartbeatProtocol` of production; all else is played: `clock`, `network`,
`disk`, `drivers`, `node`, `monitor`, under the events of `event_queue`. `faults` draws what goes
wrong, `checkers` know what is really so and what must hold. Not here: real time, sockets,
processes, and chance that the seed does not decide.
"""

from .checker import Violation
from .run import WorldReport, play, run
from .scenario import Scenario, draw

__all__ = ["Scenario", "Violation", "WorldReport", "draw", "play", "run"]
