"""Two releases laid over each other: the newer one's tests on the older one's source."""

from __future__ import annotations

from dataclasses import dataclass

from agentrl.environments.swe.package import Package, is_source, is_test_file
from agentrl.environments.swe.releases.history import Release
from agentrl.environments.swe.sdist import PackageError
from agentrl.environments.swe.tree import Tree, diff_trees

# Written anew by build tools for every release; nothing in them can be fixed.
_GENERATED = ("_version.py", "_scm_version.py", "_version_info.py")


@dataclass(slots=True, frozen=True)
class Pair:
    """A package before and after a release.

    Attributes:
        pristine: the newer release, its tests and what they read.
        buggy: the same with the older source.
        base: the older release as an agent gets it: its own tests, nothing of the newer ones.
    """

    old: Release
    new: Release
    pristine: Tree
    buggy: Tree
    base: Tree

    @property
    def package(self) -> Package:
        """The newer release's tests, and where the source is in either release."""
        old, new = self.old.package, self.new.package
        paths = list(dict.fromkeys([*new.paths, *old.paths]))
        roots = sorted({*new.roots, *old.roots})
        return Package(new.name, new.version, self.pristine, roots, paths, new.tests)

    @property
    def planted(self) -> dict[str, str | None]:
        """New text by path (None: removed) that turns `pristine` into `buggy`."""
        return {
            path: self.buggy[path].decode() if path in self.buggy else None
            for path in sorted(self.pristine.keys() | self.buggy.keys())
            if self.pristine.get(path) != self.buggy.get(path)
        }

    @property
    def fix(self) -> str:
        """The diff that a perfect submission would be."""
        fixed = {path: data for path, data in self.base.items() if not is_source(path, self._roots)}
        fixed |= {p: d for p, d in self.pristine.items() if is_source(p, self._roots)}
        return diff_trees(self.base, fixed)

    @property
    def _roots(self) -> list[str]:
        return self.new.package.roots


def lay_over(old: Release, new: Release) -> Pair:
    """Raises PackageError, saying why the two make no pair."""
    before, after = old.package, new.package
    if not after.tests:
        raise PackageError(f"{after.name} {after.version} ships no tests")
    pristine = after.tree
    older = _with_new_version(before, after)
    roots = sorted({*before.roots, *after.roots})
    source = {p: d for p, d in older.items() if is_source(p, roots)}
    buggy = {p: d for p, d in pristine.items() if not is_source(p, roots)} | source
    base = {p: d for p, d in buggy.items() if not _is_of_tests(p, after)}
    base |= {p: d for p, d in older.items() if _is_of_tests(p, before)}
    changed = [p for p in buggy.keys() | pristine.keys() if buggy.get(p) != pristine.get(p)]
    if not changed:
        raise PackageError("the Python source did not change")
    for path in changed:
        for tree in (buggy, pristine):
            try:
                tree.get(path, b"").decode()
            except UnicodeDecodeError as error:
                raise PackageError(f"{path} is not UTF-8") from error
    return Pair(old, new, pristine, buggy, _text_only(base, buggy))


def _is_of_tests(path: str, package: Package) -> bool:
    """A test, or something that stands in a folder of tests outside the source."""
    inside = any(path == root or path.startswith(f"{root}/") for root in package.roots)
    return is_test_file(path) or path in package.tests or (
        not inside and "/" in path and not path.split("/")[0].endswith(".dist-info")
        and ".dist-info/" not in path
    )  # fmt: skip


def _text_only(base: Tree, buggy: Tree) -> Tree:
    """Binary files as the newer release has them: diffs of text carry no others."""
    kept = dict(base)
    for path in base.keys() | buggy.keys():
        try:
            base.get(path, b"").decode()
            buggy.get(path, b"").decode()
        except UnicodeDecodeError:
            kept.pop(path, None)
            if path in buggy:
                kept[path] = buggy[path]
    return kept


def _with_new_version(old: Package, new: Package) -> Tree:
    """The older tree with the newer version written where a version is said.

    A test of the version alone would otherwise be a test that fails, and stating the version a fix.
    """
    tree: Tree = {}
    for path, data in old.tree.items():
        if ".dist-info/" in path:
            continue
        name = path.rsplit("/", 1)[-1]
        if name in _GENERATED and path in new.tree:
            tree[path] = new.tree[path]
        elif is_source(path, old.roots) and old.version and new.version:
            tree[path] = _versioned(data, new.tree.get(path, b""), old.version, new.version)
        else:
            tree[path] = data
    tree |= {path: data for path, data in new.tree.items() if ".dist-info/" in path}
    return tree


def _versioned(source: bytes, newer: bytes, old: str, new: str) -> bytes:
    """Lines that say the old version as the newer file has them, where it has such lines."""
    there = set(newer.split(b"\n"))
    forms = [
        (old.encode(), new.encode()),
        (", ".join(old.split(".")).encode(), ", ".join(new.split(".")).encode()),
    ]
    lines = source.split(b"\n")
    for number, line in enumerate(lines):
        for before, after in forms:
            if line not in there and before in line and line.replace(before, after) in there:
                lines[number] = line.replace(before, after)
    return b"\n".join(lines)
