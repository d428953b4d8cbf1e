"""Measurements of the product as users run it: `beatward monitor` in a process, a fleet in another.

Each file is one measurement and returns a `report.Report`: figures for programs, tables for people,
and promises, which say whether the run may be believed (nothing lost, everybody found). What is
compared is measured in the same run and told as a ratio, because machines differ and are noisy.
Linux only: /proc, recvmmsg, UDP_SEGMENT. Route in: `cli/bench.py`, `benchmarks/`.
`detectors`, with `frontier` and `two_stage`, measures no machine; it is here, and not in the
repository's `benchmarks/`, because the installed program runs it. Not here: simulated worlds
(`simulate`), which need no machine and measure none.
"""
