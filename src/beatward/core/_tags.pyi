from typing import Any, TypeAlias

from numpy.typing import NDArray

# Any contiguous buffer will do; numpy's arrays are not typing's Buffer before Python 3.12.
_Rows: TypeAlias = NDArray[Any] | bytes

def implementations() -> tuple[str, ...]: ...
def midstates(keys: _Rows, /) -> bytes: ...
def verify(
    records: _Rows, slots: _Rows, midstates: _Rows, implementation: str | None = None, /
) -> bytes: ...
def seal(
    bodies: _Rows, slots: _Rows, midstates: _Rows, implementation: str | None = None, /
) -> bytes: ...
