"""A Python package with its tests, found on disk or on PyPI, laid out and trimmed to what runs."""

from __future__ import annotations

import ast
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agentrl.environments.swe.sdist import PackageError, download
from agentrl.environments.swe.tree import Tree, read_folder

_TEST_FOLDERS = {"tests", "test", "testing"}
_NOT_SOURCE = {
    *_TEST_FOLDERS, "docs", "doc", "examples", "example", "benchmarks", "benchmark", "scripts",
    "tools", "build", "dist",
}  # fmt: skip
_NOT_MODULES = {"setup", "conftest", "noxfile", "tasks", "fabfile", "versioneer"}
_DEAD = {"__pycache__", ".git", ".tox", ".venv", "node_modules", ".mypy_cache", ".pytest_cache"}
_BINARY = (".pyc", ".pyo", ".so", ".pyd", ".dll", ".pth", ".egg-link")


@dataclass(slots=True, frozen=True)
class Package:
    """What is needed to run a package's tests, and which of its files are what.

    Attributes:
        tree: source, tests and what they read; nothing else of the distribution.
        roots: folders and single modules that are the package's source.
        paths: go on sys.path, relative to the tree ("." or "src").
        tests: the test files.
    """

    name: str
    version: str
    tree: Tree
    roots: list[str]
    paths: list[str]
    tests: list[str]

    @property
    def sources(self) -> list[str]:
        """The Python files that a bug can be in and a fix may change."""
        return [p for p in sorted(self.tree) if is_source(p, self.roots)]


def is_test_file(path: str) -> bool:
    """By pytest's naming convention, or because it stands in a test folder."""
    parts = PurePosixPath(path)
    name = parts.name
    return (
        name == "conftest.py"
        or (name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")))
        or name == "tests.py"
        or any(part in _TEST_FOLDERS for part in parts.parts[:-1])
    )


def is_source(path: str, roots: list[str]) -> bool:
    """A Python file of the package that is no test file."""
    return path.endswith(".py") and under(path, roots) and not is_test_file(path)


def under(path: str, roots: list[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def load_package(spec: str) -> Package:
    """A package from a folder, or from PyPI as `name` or `name==version`.

    Raises:
        PackageError: no such folder or distribution, no tests in it, or no pure-Python source.
    """
    folder = Path(spec)
    if folder.is_dir():
        return lay_out(folder, folder.resolve().name)
    if "/" in spec or spec.startswith("."):
        raise PackageError(f"no such folder: {spec}", fix="give a folder or the name of a package")
    with tempfile.TemporaryDirectory(prefix="agentrl-sdist-") as scratch:
        return lay_out(download(spec, Path(scratch)), re.split(r"[=<>!~\[ ]", spec)[0])


def lay_out(folder: Path, fallback: str, *, need_tests: bool = True) -> Package:
    """What an unpacked distribution holds; `fallback` is its name where no metadata says it.

    Raises PackageError: no pure-Python source, or (unless `need_tests` is False) no tests.
    """
    whole = {
        path: data
        for path, data in read_folder(folder).items()
        if not _DEAD.intersection(path.split("/")) and not path.endswith(_BINARY)
    }
    name, version = _metadata(whole, fallback)
    base, roots = _find_roots(whole, name)
    if not any(is_source(path, roots) for path in whole):
        raise PackageError(
            f"no Python source found in {folder}",
            fix="the package must be a folder with __init__.py, or a module, at the top or in src/",
        )
    tests = [p for p in sorted(whole) if _is_test_module(p)]
    if not tests and need_tests:
        raise PackageError(
            f"{name} {version} ships no tests",
            fix="many packages leave tests out of the sdist: clone the repository, give its folder",
        )
    folders = {p.split("/")[0] for p in tests if "/" in p and not under(p, roots)}
    tree = {
        path: data
        for path, data in whole.items()
        if under(path, roots) or path in tests or path == "conftest.py"
        or path.split("/")[0] in folders
    }  # fmt: skip
    if version:
        prefix = "" if base == "." else f"{base}/"
        entry = f"{prefix}{name.replace('-', '_')}-{version}.dist-info/METADATA"
        tree[entry] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    return Package(name, version, tree, roots, list(dict.fromkeys([base, "."])), tests)


def _is_test_module(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    named = name.startswith("test_") or name.endswith("_test.py") or name in ("test.py", "tests.py")
    return named and name.endswith(".py")


def _metadata(tree: Tree, fallback: str) -> tuple[str, str]:
    text = tree.get("PKG-INFO", b"").decode("utf-8", "replace")
    name = re.search(r"(?mi)^Name: (\S+)", text)
    version = re.search(r"(?mi)^Version: (\S+)", text)
    return name[1] if name else fallback, version[1] if version else ""


def _find_roots(tree: Tree, name: str) -> tuple[str, list[str]]:
    """The sys.path entry and the source roots: `src` if it holds packages, else the top."""
    for base in ("src", "lib", "."):
        prefix = "" if base == "." else f"{base}/"
        inside = [p[len(prefix) :] for p in tree if p.startswith(prefix)]
        folders = {p.split("/")[0] for p in inside if p.count("/") == 1 and "__init__.py" in p}
        modules = {p for p in inside if "/" not in p and p.endswith(".py")}
        folders -= _NOT_SOURCE
        modules = {m for m in modules if m[:-3] not in _NOT_MODULES and not is_test_file(m)}
        modules = {m for m in modules if _is_module(tree[prefix + m])}
        plain = name.lower().replace("-", "_").replace(".", "_")
        exact = {f for f in folders | modules if f.removesuffix(".py").lower() == plain}
        chosen = exact or folders or modules
        if chosen:
            return base, sorted(prefix + c for c in chosen)
    return ".", []


def _is_module(source: bytes) -> bool:
    """Something can be imported from it: not a script made of calls."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in body)
