"""The prose about the tree is true: layers, error tree, file names in headers, sample file."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Collection

import pytest

import vmdk_cache
from vmdk_cache import errors

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "vmdk_cache"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Layers from top to bottom; all others are level 0.
LAYERS = [
    "cinder",
    "cli",
    "preflight",
    "wiring",
    "ledger",
    "glance_errors",
    "periodic",
    "adapters",
    "backend",
    "cache",
    "vmdk",
    "datastore",
    "vim",
]
#: Which layer may import which foreign package.
FOREIGN = {
    "pyVmomi": {"vim"},
    "pyVim": {"vim"},
    "cinder": {"cinder"},
    "cliff": {"cli"},
    "glanceclient": {"cli", "cinder", "glance_errors"},
    "keystoneauth1": {"cli", "cinder", "glance_errors"},
    "prometheus_client": {"cli"},
    "rich": {"cli"},
    "eventlet": set(),
    "tests": set(),
}


def layer_of(parts: tuple[str, ...]) -> str:
    """``("cache", "engine")`` -> ``cache``; ``("conf",)`` -> level 0, an empty string."""
    return parts[0] if parts and parts[0] in LAYERS else ""


def imports(path: pathlib.Path) -> list[str]:
    """Dotted names of everything a module imports, ``a.b.name`` for ``from a.b import name``."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _module_in(names: Collection[str]) -> Callable[[str], str | None]:
    """``a.b.name`` -> ``a.b.name`` or ``a.b``, whichever of them is a module."""

    def module(dotted: str) -> str | None:
        parent = dotted.rpartition(".")[0]
        return next((name for name in (dotted, parent) if name in names), None)

    return module


def name_of(path: pathlib.Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts


@pytest.mark.parametrize("path", MODULES, ids=lambda p: "/".join(name_of(p)))
def test_a_module_imports_only_layers_below_its_own(path: pathlib.Path) -> None:
    mine = layer_of(name_of(path))
    level = LAYERS.index(mine) if mine else len(LAYERS)
    for name in imports(path):
        root, *rest = name.split(".")
        if root != "vmdk_cache":
            if root in FOREIGN:
                assert mine in FOREIGN[root], f"{path} imports {name}"
            continue
        theirs = layer_of(tuple(rest))
        if theirs and theirs != mine:
            assert LAYERS.index(theirs) > level, f"{path} imports {name}, which is a layer above it"
            # Neither needs the other: one runs without Cinder, the other without a terminal.
            assert (mine, theirs) != ("cinder", "cli"), f"{path} imports {name}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even inside a function, or for a type: such modules are one module in several files."""
    by_name = {".".join(("vmdk_cache", *name_of(p))).removesuffix(".__init__"): p for p in MODULES}
    below = {
        name: {found for found in map(_module_in(by_name), imports(path)) if found} - {name}
        for name, path in by_name.items()
    }
    left = set(below)
    while ends := {
        name
        for name in left
        if not below[name] & left or not any(name in below[other] for other in left)
    }:
        left -= ends
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if name_of(p)[0] == "cache"],
    ids=lambda p: p.stem,
)
def test_the_engine_is_pure(path: pathlib.Path) -> None:
    for name in imports(path):
        theirs = layer_of(tuple(name.split(".")[1:])) if name.startswith("vmdk_cache.") else ""
        assert theirs in ("", "cache"), f"{path} imports {name}: adapters/ may"


def test_importing_the_package_does_nothing_and_needs_no_cinder() -> None:
    """Everything but vmdk_cache/cinder/ loads where Cinder is not installed."""
    modules = [
        ".".join(("vmdk_cache", *name_of(p))).removesuffix(".__init__")
        for p in MODULES
        if layer_of(name_of(p)) != "cinder"
    ]
    program = (
        "import sys, threading, importlib\n"
        "sys.modules['cinder'] = None\n"
        f"[importlib.import_module(m) for m in {modules!r}]\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, cwd=ROOT)


def test_the_error_tree_in_the_header_is_the_tree_in_the_code() -> None:
    drawn: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        found = re.match(r"^( *)([A-Z][A-Za-z]+)(  +.*)?$", line)
        if found and len(found[1]) >= 4:
            drawn.append((len(found[1]) // 4, found[2]))

    def walk(cls: type, depth: int) -> list[tuple[int, str]]:
        below = [item for sub in cls.__subclasses__() for item in walk(sub, depth + 1)]
        return [(depth, cls.__name__), *below]

    assert drawn == walk(errors.VmdkCacheError, 1)


def test_every_error_says_what_it_means() -> None:
    for cls in vars(errors).values():
        if inspect.isclass(cls):
            assert cls.__doc__, cls


@pytest.mark.parametrize("path", MODULES, ids=lambda p: "/".join(name_of(p)))
def test_a_header_names_only_files_that_exist(path: pathlib.Path) -> None:
    header = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert header, f"{path} does not say what it is"
    for named in re.findall(r"\b(?:vmdk_cache|tests|etc|docs|cache|vim)/[\w/.-]+\.\w+\b", header):
        assert (ROOT / named).exists() or (PACKAGE / named).exists(), f"{path}: no {named}"


def test_the_layers_in_the_package_docstring_exist() -> None:
    doc = vmdk_cache.__doc__ or ""
    layers = re.findall(r"^    ([a-z]+)(?:/|\.py)", doc, flags=re.MULTILINE)
    assert layers
    for named in layers:
        assert (PACKAGE / named).is_dir() or (PACKAGE / f"{named}.py").is_file(), named
