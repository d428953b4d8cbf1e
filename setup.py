"""The optional extension, see docs/decisions/008; all else is in pyproject.toml.

This is code and not configuration because of one condition: where a Python has no limited API,
asking for it would fail the whole installation and not just the extension.
"""

import sys
import sysconfig

from setuptools import Extension, setup

# Python without the GIL cannot be compiled for with the limited API, and PyPy need not be.
has_limited_api = sys.implementation.name == "cpython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)

setup(
    ext_modules=[
        Extension(
            "beatward.core._tags",
            ["src/beatward/core/_tags.c"],
            py_limited_api=True,
            # No compiler, or no Python.h: a warning, and heartbeats are checked in Python.
            optional=True,
        )
    ]
    if has_limited_api
    else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if has_limited_api else {},
)
