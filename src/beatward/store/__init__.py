"""The writing down: what is decided is on disk before it is done, and a restart begins from it.

    Entry -> journal (a thread) -> Store.append (a transaction) -> receipt -> the wheel's inbox
                                        sqlite | memory
                                        reader -> the web room

One file an engine: `sqlite` for production, `memory` for the simulated world and for tests; both
pass `tests/store/test_conformance.py`. Not here: what an entry means (`core.entry`).
"""
