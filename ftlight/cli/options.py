"""Options of a class as its source tells them: name, type, default and sentence.

Help and most mistakes need nothing else, so they come before torch is imported. A class whose
source leaves a doubt (a base that is not found, options taken in another way than through
``**kwargs``) is left to the import.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.cli import source
from ftlight.cli.source import Unclear, look

KEEPS_SIGNATURE = {"_defaults_from_env_vars"}  # decorators of a constructor
SECTIONS = ("Args:", "Arguments:", "Parameters:", "Params:")
Class = tuple[str, ast.ClassDef]  # a module, and a class in it


class Option(NamedTuple):
    """An option of a class.

    Attributes:
        name: Its name.
        type: Its annotation as text; empty if it has none.
        default: Its default, as text if it is no plain value; None if it has none.
        help: Its sentence.
        owner: Dotted path of the class that declares it; empty if no module gives names to types.
    """

    name: str
    type: str
    default: Any
    help: str
    owner: str

    @property
    def full_type(self) -> str:
        """The type without names of a module, such as ``Literal['a', 'b']`` for ``Kind``."""
        module = self.owner.rpartition(".")[0]
        return source.full_type(module, self.type) if module and self.type else self.type


class Described(NamedTuple):
    """A class: dotted path, options in order, and the data module it names."""

    path: str
    options: Sequence[Option]
    data_module: str | None

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.path.rpartition(".")[2]


def describe(module: str, name: str) -> Described | None:
    """Describes a class, through imports and bases; None if its source leaves a doubt."""
    definition = look(module, name)
    if definition is None or not isinstance(definition[1], ast.ClassDef):
        return None
    home, cls = definition[0], definition[1]
    try:
        options, data_module = _options(home, cls), _attribute(home, cls, "data_module")
    except Unclear:
        return None
    return Described(f"{home}.{cls.name}", options, data_module)


@functools.cache
def _options(module: str, cls: ast.ClassDef) -> Sequence[Option]:
    """Options of a class: its own, then those that ``**kwargs`` hands on to its base."""
    init = _constructor(cls)
    if init is None:
        base = _base(module, cls)
        return _options(*base) if base else []
    own = list(_own(module, cls, init))
    names = {option.name for option in own}
    return [*own, *(o for o in _handed_on(module, cls, init) if o.name not in names)]


def _constructor(cls: ast.ClassDef) -> ast.FunctionDef | None:
    """The ``__init__`` of a class, if it has one and nothing else changes its signature."""
    inits = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    names = ("__init__", "__new__", "__signature__")
    bindings = [node for name in names for node in _binding(cls, name)]
    if cls.decorator_list or cls.keywords or len(bindings) != len(inits) or len(inits) > 1:
        raise Unclear
    for init in inits:
        decorators = [getattr(node, "id", "") for node in init.decorator_list]
        if not KEEPS_SIGNATURE.issuperset(decorators) or not init.args.args:
            raise Unclear
    return inits[0] if inits else None


def _binding(cls: ast.ClassDef, name: str) -> list[ast.stmt]:
    """The statements of a class that bind a name."""
    statements: list[ast.stmt] = []
    for node in cls.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = {node.name}
        else:
            names = {getattr(p, "id", getattr(p, "name", "")) for p in ast.walk(node)}
        if name in names:
            statements.append(node)
    return statements


@functools.cache
def _base(module: str, cls: ast.ClassDef) -> Class | None:
    """The only base of a class; None if it has none.

    Raises:
        Unclear: there are several, or it is not found.
    """
    if len(cls.bases) > 1:
        raise Unclear
    for base in cls.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        named = isinstance(plain, (ast.Name, ast.Attribute))
        definition = look(module, ast.unparse(plain)) if named else None
        if definition is not None and isinstance(definition[1], ast.ClassDef):
            return definition[0], definition[1]
        if ast.unparse(plain) != "object":
            raise Unclear
    return None


def _attribute(module: str, cls: ast.ClassDef, name: str) -> Any:
    """The value of an attribute of a class or its bases; None if there is none."""
    binding = _binding(cls, name)
    for node in binding:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if not isinstance(targets[0], ast.Name) or not isinstance(value, ast.Constant):
            raise Unclear
        return value.value
    try:
        base = _base(module, cls)
    except Unclear:
        if module.split(".")[0] == "lightning":  # whose classes name no data module
            return None
        raise
    return _attribute(*base, name) if base else None


def _own(module: str, cls: ast.ClassDef, init: ast.FunctionDef) -> Iterator[Option]:
    """Options that a constructor names itself."""
    sentences = _sentences(module, cls)
    positional = [*init.args.posonlyargs, *init.args.args]
    required: list[ast.expr | None] = [None] * (len(positional) - len(init.args.defaults))
    defaults = [*required, *init.args.defaults]
    pairs = list(zip(positional, defaults, strict=True))[1:]  # without self
    pairs += zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    for argument, node in pairs:
        if not argument.arg.startswith("_"):
            default = source.value(module, node)
            guessed = "" if default is None else type(default).__name__
            kind = source.annotation(argument.annotation) or guessed
            sentence = sentences.get(argument.arg, "")
            yield Option(argument.arg, kind, default, sentence, f"{module}.{cls.name}")


@functools.cache
def _sentences(module: str, cls: ast.ClassDef) -> Mapping[str, str]:
    """Sentences of a class: its own, else those of the base that it hands options on to."""
    inits = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    own = sentences(ast.get_docstring(cls))
    for init in inits:
        own |= sentences(ast.get_docstring(init))
    try:
        hands_on = not inits or any(init.args.kwarg for init in inits)
        base = _base(module, cls) if hands_on else None
    except Unclear:
        return own
    return {**(_sentences(*base) if base else {}), **own}


def _handed_on(module: str, cls: ast.ClassDef, init: ast.FunctionDef) -> Sequence[Option]:
    """Options of the base that ``super().__init__(…, **kwargs)`` leaves open."""
    keywords = init.args.kwarg.arg if init.args.kwarg else ""
    positional = init.args.vararg.arg if init.args.vararg else ""
    nodes = list(ast.walk(init))
    uses = [n for n in nodes if isinstance(n, ast.Name) and n.id in (keywords, positional)]
    if not uses:
        return []
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    calls = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
    base = _base(module, cls)
    if len(calls) != 1 or base is None or not any(use.id == keywords for use in uses):
        raise Unclear
    call = calls[0]
    harmless = [k.value for k in call.keywords if k.arg is None]
    harmless += [a.value for a in call.args if isinstance(a, ast.Starred)]
    harmless += [node for node in map(_looked_into, nodes) if node is not None]
    if any(use not in harmless for use in uses):
        raise Unclear
    below = _options(*base)
    count = sum(not isinstance(a, ast.Starred) for a in call.args)
    taken = {k.arg for k in call.keywords} | {option.name for option in below[:count]}
    return [option for option in below if option.name not in taken]


def _looked_into(node: ast.AST) -> ast.expr | None:
    """The ``kwargs`` of ``kwargs[…] = …``, ``kwargs[name]`` and ``kwargs.get(name)``.

    These hide no option. ``kwargs["a"]`` and ``kwargs.get("a")`` do: they take an option ``a`` that
    the signature does not name.
    """
    if isinstance(node, ast.Subscript):
        stores = isinstance(node.ctx, ast.Store)
        return node.value if stores or not isinstance(node.slice, ast.Constant) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        by_name = bool(node.args) and not isinstance(node.args[0], ast.Constant)
        return node.func.value if node.func.attr == "get" and by_name else None
    return None


def sentences(docstring: str | None) -> dict[str, str]:
    r"""The sentence of each argument in a docstring of Google's style.

    docstring_parser would do, but costs every ``--help`` 0.013 s.

    >>> sentences("Reads.\n\nArgs:\n    name: the file,\n        or folder.\n    size (int): rows.")
    {'name': 'the file, or folder.', 'size': 'rows.'}
    """
    lines = (docstring or "").expandtabs().splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() in SECTIONS]
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in lines[starts[0] + 1 :] if starts else []:
        depth = len(line) - len(line.lstrip())
        indent = indent or depth
        if line.strip() and depth < indent:
            break
        entry = re.match(r"\s*\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if entry and depth == indent:
            name, found[entry[1]] = entry[1], entry[2].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
