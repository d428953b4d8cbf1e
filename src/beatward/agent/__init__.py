"""What runs on a node: one line in a program, a sidecar, or a wrapper round a command.

`heartbeat_protocol` is the heartbeat as a pure machine; `heart` drives it with a real clock and a
real socket; `daemon` is `beatward agent`, `command` is `beatward exec`. Of the core this room knows
only `core.protocol` and `core.instants`, and it loads nothing heavy: it runs on every node. Not
here: any judgement about who is alive.
"""
