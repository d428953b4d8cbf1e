"""The HTTP door: asking, commanding, JSON heartbeats, events as they happen, and metrics.

Everything here reads published snapshots and the journal and hands records and orders to the
inbox; nothing touches the live core. `backend` says what the running monitor must offer, `app`
puts the routes together, `listener` runs them in its caller's loop. Not here: sockets of
datagrams (`transport`), the program around it (`server`), any clock.
"""
