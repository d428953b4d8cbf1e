"""What is said on the wire, how it is written and how it is authenticated.

Standard library only: the agent on every node imports this room and nothing else of the core but
`core.instants`. `record` is the 64-byte record, `keys` derives every secret from the monitor's
master key, `join` is the enrolment. The complete description for other languages, with test
vectors, is docs/protocol.md. Not here: sockets, and batches of records (`core.intake`).
"""
