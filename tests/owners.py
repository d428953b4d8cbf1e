"""Who writes what, as the syntax of one file shows it: writes to what belongs to another room.

A room writes its own attributes, and the fields of records whose class stands in the same file:

    self.x = ..., self.x[...] = ...     its own
    watch.misses += 1                   its own, where `class _Watch` stands in this file
    registry.sequence[slots] = ...      another room's, whatever `registry` is called here
    self._role.fence = ...              another room's, unless `_role` was made of a class from here
    self._offers[slot] = ...            another room's, after `self._offers = state.offers`

An array that came in as an argument, and a copy by fancy index, may be written: nothing tells here
whose they are. So may anything through a call: that is what verbs are for.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

# Methods of built-in collections and arrays that change them. `add`, `clear` and `extend` are verbs
# of rooms.
CHANGES = frozenset(
    (
        *("append", "appendleft", "discard", "fill", "insert", "pop", "popitem", "popleft"),
        *("remove", "reverse", "setdefault", "sort", "update"),
    )
)


@dataclass
class _Scope:
    """What names stand for in one function: chains of attributes, or a class of this file."""

    chains: dict[str, ast.expr] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)  # parameters of classes from elsewhere
    twins: set[str] = field(default_factory=set)  # copies of the object itself


def foreign_writes(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each write to an array or a record of another room."""
    classes = {node.name: node for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
    fields = {name for one in classes.values() for name in _fields(one)}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield from _Reader(fields, set(classes), node).read(node)
        else:
            yield from _Reader(fields, set(classes), None).read(node)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and _is_self(one):
            yield one.attr


def _is_self(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id in ("self", "cls"))
    )


class _Reader:
    """Reads one class, or one function outside of classes."""

    def __init__(self, fields: set[str], classes: set[str], owner: ast.ClassDef | None) -> None:
        self._fields = fields
        self._classes = classes
        self._attributes: dict[str, ast.expr] = {}
        self._made: set[str] = set()
        for node in ast.walk(owner) if owner is not None else ():
            for target, value, hint in _bindings(node):
                if not _is_self(target):
                    continue
                assert isinstance(target, ast.Attribute)
                if value is not None and _is_chain(value) and not _is_self(value):
                    self._attributes[target.attr] = value
                if self._is_from_here(value) or self._is_from_here(hint):
                    self._made.add(target.attr)

    def _is_from_here(self, node: ast.expr | None) -> bool:
        names = (one for one in ast.walk(node) if isinstance(one, ast.Name)) if node else ()
        return any(one.id in self._classes for one in names)

    def read(self, node: ast.AST) -> Iterator[tuple[int, str]]:
        """Yield the foreign writes in all functions below a node."""
        for one in ast.walk(node):
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._read(one, self._scope(one))

    def _scope(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> _Scope:
        scope = _Scope()
        arguments = function.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if one.annotation is not None and not self._is_from_here(one.annotation):
                scope.foreign.add(one.arg)
        for node in ast.walk(function):
            for target, value, _ in _bindings(node):
                if isinstance(target, ast.Name) and value is not None:
                    scope.foreign.discard(target.id)
                    if _is_chain(value) or _is_view(value):
                        scope.chains[target.id] = value
                    if isinstance(value, ast.Call) and self._copies(value):
                        scope.twins.add(target.id)
        return scope

    def _copies(self, call: ast.Call) -> bool:
        is_copy = any(isinstance(one, ast.Name) and one.id == "self" for one in call.args)
        return is_copy or self._is_from_here(call.func)

    def _read(self, function: ast.AST, scope: _Scope) -> Iterator[tuple[int, str]]:
        for node in ast.walk(function):
            for target in _written(node):
                if self._is_foreign(target, scope):
                    yield target.lineno, ast.unparse(target)

    def _is_foreign(self, target: ast.expr, scope: _Scope) -> bool:
        place, is_inside = target, False
        while isinstance(place, ast.Subscript):
            place, is_inside = place.value, True
        if isinstance(place, ast.Name):
            chain = scope.chains.get(place.id)
            return is_inside and chain is not None and self._is_foreign(chain, scope)
        if not isinstance(place, ast.Attribute):
            return False
        if _is_self(place):
            chain = self._attributes.get(place.attr)
            return is_inside and chain is not None
        return not self._is_record_of_ours(place, scope)

    def _is_record_of_ours(self, place: ast.Attribute, scope: _Scope) -> bool:
        """Tell whether a field belongs to a record of a class from this file."""
        holder = place.value
        if isinstance(holder, ast.Name) and holder.id in scope.twins:
            return True
        if place.attr not in self._fields:
            return False
        if isinstance(holder, ast.Name):
            chain = scope.chains.get(holder.id)
            if chain is None:
                return holder.id not in scope.foreign
            holder = chain
        while isinstance(holder, ast.Subscript):
            holder = holder.value
        return _is_self(holder) and isinstance(holder, ast.Attribute) and holder.attr in self._made


def _is_chain(node: ast.expr) -> bool:
    """Tell whether an expression is `a.b` or `a.b.c`: another name for what is there."""
    while isinstance(node, ast.Attribute):
        node = node.value
        if isinstance(node, ast.Name):
            return True
    return False


def _is_view(node: ast.expr) -> bool:
    is_slice = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
    return is_slice and isinstance(node, ast.Subscript) and _is_chain(node.value)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None, ast.expr | None]]:
    """Yield (target, value, hint) of an assignment, tuples taken apart."""
    if isinstance(node, ast.AnnAssign):
        yield node.target, node.value, node.annotation
    if isinstance(node, ast.Assign):
        for target in node.targets:
            is_pair = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            if is_pair and isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=False):
                    yield one, value, None
            else:
                yield target, node.value, None


def _written(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node writes to."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = list(node.targets)
    elif isinstance(node, ast.AnnAssign | ast.For):
        targets = [node.target]
    elif isinstance(node, ast.AugAssign):
        # In place: another name for an array changes the array.
        yield _inside(node.target) if isinstance(node.target, ast.Name) else node.target
    elif isinstance(node, ast.Call):
        yield from _changed_by(node)
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        else:
            yield target


def _changed_by(call: ast.Call) -> Iterator[ast.expr]:
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in CHANGES:
        yield _inside(function.value)
    if isinstance(function, ast.Attribute) and function.attr == "at" and call.args:
        yield _inside(call.args[0])  # np.add.at
    if isinstance(function, ast.Name) and function.id in ("setattr", "delattr") and call.args:
        yield ast.copy_location(ast.Attribute(call.args[0], "*", ast.Store()), call)
    for keyword in call.keywords:
        if keyword.arg == "out":
            yield _inside(keyword.value)


def _inside(node: ast.expr) -> ast.expr:
    """Return `node[...]`: its content is written, and not the name."""
    return ast.copy_location(ast.Subscript(node, ast.Constant(...), ast.Store()), node)
