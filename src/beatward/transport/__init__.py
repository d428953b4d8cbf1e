"""Datagrams in and out: the monitor's UDP door.

`open_doors` binds the sockets. Every turn of the wheel `UdpSockets.drain` takes what the kernel
holds as numpy rows (`core.intake.Datagrams`) and says until when silence is silence;
`UdpSockets.send` takes the core's `Replies` back to the nodes. `peer` turns raw socket addresses
into text and back. Not here: what a datagram means (`core.intake`), HTTP (`web`), any clock (it is
handed in), and the inbox that puts several sources together (`server`).
"""

from beatward.transport.peer import peer_row, peer_text
from beatward.transport.udp import WIRES, Drain, UdpSocket, open_door
from beatward.transport.udp_sockets import Prefilter, UdpSockets, open_doors

# A third door is one more name here; all of them give `Datagrams` and take `Replies`.
DOORS = {"udp": open_door}

__all__ = [
    "DOORS",
    "WIRES",
    "Drain",
    "Prefilter",
    "UdpSocket",
    "UdpSockets",
    "open_door",
    "open_doors",
    "peer_row",
    "peer_text",
]
