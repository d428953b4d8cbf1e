"""The production program: real clock, threads, wiring and its own health.

Route: `config.Settings` -> `program.serve`. The only room that knows all the others; the same
`cycle.Cycle` turns here and in `simulate`. Not here: any decision.
"""
