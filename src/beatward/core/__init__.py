"""The pure machine: no clock, no I/O, no chance, no logging; standard library and numpy.

Time comes in as `now_ns`, chance as a session number, the world as `Inputs`; what should happen
goes out as an `Output`. Route: `Datagrams -> Heartbeats -> deadlines -> Transition -> Action`.
"""
