"""Options of a class as its source tells them: name, type, default and sentence, with nothing imported.

What the source does not tell for certain (a base that is not found, options taken in another way than through ``**kwargs`` to the
base) gives None: it is then for the import to say.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.cli.source import look

SAME = {"_defaults_from_env_vars"}  # decorators of a constructor that leave its signature as it is


class Option(NamedTuple):
    """An option of a class.

    Attributes:
        name: its name.
        type: its annotation as text; empty where there is none.
        default: its default, as text where that is no plain value; None where there is none.
        help: its sentence.
        owner: dotted path of the class that declares it; empty where the type needs nothing of its module.
    """

    name: str
    type: str
    default: Any
    help: str
    owner: str

    @property
    def full_type(self) -> str:
        """The type with those in place of the names that modules give them, such as ``Literal['a', 'b']`` for ``Kind``."""
        module = self.owner.rpartition(".")[0]
        return (
            ast.unparse(_Aliases(module).visit(ast.parse(self.type, mode="eval").body))
            if module and self.type
            else self.type
        )


class Described(NamedTuple):
    """What is known of a class: dotted path, options in order, and the ``data_module`` it names."""

    path: str
    options: Sequence[Option]
    data_module: str | None

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.path.rpartition(".")[2]


def describe(module: str, name: str) -> Described | None:
    """Describes a class of a module, through imports and bases; None where the source does not tell it for certain."""
    found = look(module, name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    home, cls = found[0], found[1]
    try:
        return Described(
            f"{home}.{cls.name}", _options(home, cls), _attribute(home, cls, "data_module")
        )
    except _Unclear:
        return None


class _Unclear(Exception):
    """The source does not tell it."""


@functools.cache
def _base(module: str, cls: ast.ClassDef) -> tuple[str, ast.ClassDef] | None:
    """The only base of a class; None where it has none.

    Raises:
        _Unclear: there are several, or it is not found.
    """
    if len(cls.bases) > 1:
        raise _Unclear
    for base in cls.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        found = (
            look(module, ast.unparse(base)) if isinstance(base, (ast.Name, ast.Attribute)) else None
        )
        if found is not None and isinstance(found[1], ast.ClassDef):
            return found[0], found[1]
        if ast.unparse(base) != "object":
            raise _Unclear
    return None


def _attribute(module: str, cls: ast.ClassDef, name: str) -> Any:
    """The value of an attribute of a class or its bases; None where there is none."""
    for node in cls.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == name:
            value = getattr(node, "value", None)
            if not isinstance(value, ast.Constant):
                raise _Unclear
            return value.value
    if _binds(cls, name):
        raise _Unclear  # made in a way that is none of these
    try:
        base = _base(module, cls)
    except _Unclear:
        if module.split(".")[0] == "lightning":
            return None
        raise
    return _attribute(*base, name) if base else None


def _binds(cls: ast.ClassDef, name: str) -> list[ast.stmt]:
    """The statements of a class that bind a name."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    plain = [n for n in cls.body if isinstance(n, functions) and n.name == name]
    rest = [n for n in cls.body if not isinstance(n, functions)]
    return plain + [
        n
        for n in rest
        if any(name == getattr(p, "id", getattr(p, "name", "")) for p in ast.walk(n))
    ]


@functools.cache
def _options(module: str, cls: ast.ClassDef) -> Sequence[Option]:
    """Options of a class, its own first, then those that ``**kwargs`` hand on to its base."""
    made = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    named = [n for name in ("__init__", "__new__", "__signature__") for n in _binds(cls, name)]
    if cls.decorator_list or cls.keywords or len(named) != len(made) or len(made) > 1:
        raise _Unclear
    if not made:
        base = _base(module, cls)
        return _options(*base) if base else []
    init = made[0]
    if (
        any(not isinstance(d, ast.Name) or d.id not in SAME for d in init.decorator_list)
        or not init.args.args
    ):
        raise _Unclear
    own = list(_own(module, cls, init))
    names = {o.name for o in own}
    return [*own, *(o for o in _handed_on(module, cls, init) if o.name not in names)]


def _own(module: str, cls: ast.ClassDef, init: ast.FunctionDef) -> Iterator[Option]:
    said = _said(module, cls)
    given = [*init.args.posonlyargs, *init.args.args]
    late: list[ast.expr | None] = [None] * (len(given) - len(init.args.defaults)) + list(
        init.args.defaults
    )
    pairs = [
        *zip(given, late, strict=True),
        *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True),
    ]
    for arg, node in pairs[1:]:
        if not arg.arg.startswith("_"):
            default = _value(module, node)
            text = _text(arg.annotation) or ("" if default is None else type(default).__name__)
            yield Option(arg.arg, text, default, said.get(arg.arg, ""), f"{module}.{cls.name}")


@functools.cache
def _said(module: str, cls: ast.ClassDef) -> Mapping[str, str]:
    """The sentences of a class: its own, else those of the base that it hands options on to."""
    inits = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    nodes: list[ast.ClassDef | ast.FunctionDef] = [cls, *inits]
    own = {k: v for node in nodes for k, v in sentences(ast.get_docstring(node)).items()}
    try:
        base = _base(module, cls) if any(n.args.kwarg for n in inits) else None
    except _Unclear:
        return own
    return {**(_said(*base) if base else {}), **own}


def _handed_on(module: str, cls: ast.ClassDef, init: ast.FunctionDef) -> Sequence[Option]:
    """Options of the base that ``super().__init__(…, **kwargs)`` leaves open."""
    extra = init.args.kwarg.arg if init.args.kwarg else ""
    more = init.args.vararg.arg if init.args.vararg else ""
    parts = list(ast.walk(init))
    uses = [n for n in parts if isinstance(n, ast.Name) and n.id in (extra, more)]
    if not uses:
        return []
    calls = [
        n for n in parts if isinstance(n, ast.Call) and ast.unparse(n.func) == "super().__init__"
    ]
    if len(calls) != 1:
        raise _Unclear
    known = {id(k.value) for k in calls[0].keywords if k.arg is None} | {
        id(a.value) for a in calls[0].args if isinstance(a, ast.Starred)
    }
    for part in parts:  # kwargs[…] = …, kwargs.get(key): no option is named by them
        if isinstance(part, ast.Subscript) and (
            isinstance(part.ctx, ast.Store) or not isinstance(part.slice, ast.Constant)
        ):
            known.add(id(part.value))
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr == "get"
        ):
            known |= (
                {id(part.func.value)}
                if part.args and not isinstance(part.args[0], ast.Constant)
                else set()
            )
    base = _base(module, cls)
    if (
        base is None
        or any(id(n) not in known for n in uses)
        or not any(n.id == extra for n in uses)
    ):
        raise _Unclear
    below = _options(*base)
    taken = sum(not isinstance(a, ast.Starred) for a in calls[0].args)
    explicit = {k.arg for k in calls[0].keywords} | {o.name for o in below[:taken]}
    return [o for o in below if o.name not in explicit]


def _text(node: ast.expr | None) -> str:
    """An annotation as text; one in quotes without them."""
    text = (
        node.value
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        else ast.unparse(node)
        if node
        else ""
    )
    try:
        return ast.unparse(ast.parse(text, mode="eval")) if text else ""
    except SyntaxError:
        raise _Unclear from None


class _Aliases(ast.NodeTransformer):
    """Puts types in place of the names that a module gives them."""

    def __init__(self, module: str) -> None:
        self.module = module

    def _put(self, node: Any) -> Any:
        found = look(self.module, ast.unparse(node))
        value = (
            getattr(found[1], "value", None)
            if found and isinstance(found[1], (ast.Assign, ast.AnnAssign))
            else None
        )
        plain = isinstance(value, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute))
        return (
            _Aliases(found[0]).visit(ast.parse(_text(value), mode="eval").body)
            if found and plain
            else node
        )

    visit_Name = visit_Attribute = _put


def _value(module: str, node: ast.expr | None) -> Any:
    """A default: a plain value, that of a constant, or the text."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        found = (
            look(module, ast.unparse(node)) if isinstance(node, (ast.Name, ast.Attribute)) else None
        )
        value = getattr(found[1], "value", None) if found else None
        return _value(found[0], value) if found and value is not None else ast.unparse(node)


def sentences(docstring: str | None) -> dict[str, str]:
    r"""The sentence of each argument in a docstring of Google's style.

    >>> sentences("Reads.\n\nArgs:\n    name: the file,\n        or a folder.\n    size (int): rows.\n\nRaises:\n    E: never.")
    {'name': 'the file, or a folder.', 'size': 'rows.'}
    """
    lines = (docstring or "").expandtabs().splitlines()
    starts = [
        i
        for i, line in enumerate(lines)
        if line.strip() in ("Args:", "Arguments:", "Parameters:", "Params:")
    ]
    found: dict[str, str] = {}
    name, first = "", 0
    for line in lines[starts[0] + 1 :] if starts else []:
        depth = len(line) - len(line.lstrip())
        first = first or depth
        if line.strip() and depth < first:
            break
        entry = (
            re.match(r"\s*\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*)", line) if depth == first else None
        )
        if entry:
            name = entry[1]
        if name:
            found[name] = f"{found.get(name, '')} {entry[2] if entry else line.strip()}".strip()
    return found
