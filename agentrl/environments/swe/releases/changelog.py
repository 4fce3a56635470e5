"""What a release's own notes say of it: the section under its version's heading."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

_NAMES = re.compile(
    r"(?i)^(changes|changelog|change_log|history|news|releases?|release[-_]?notes|whatsnew|"
    r"versionhistory)(\.(rst|md|txt|markdown|adoc))?$"
)
_FOLDERS = ("", "docs", "doc", "docs/source", "doc/source", "docs/src")
_FILE_LIMIT = 2 << 20
_VERSION = re.compile(r"(?<![\w.])v?(\d+(?:\.\d+)+(?:[a-z]+\d*)?|\d{4}\.\d+)(?![\w.]*\d)", re.I)
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")


@dataclass(slots=True, frozen=True)
class Changelog:
    """The texts of a distribution that may tell what changed, the likeliest first."""

    texts: list[str]

    def entry(self, version: str) -> str:
        """What stands under the heading of a version, "" when there is none."""
        for text in self.texts:
            found = section(text, version)
            if found:
                return found
        return ""

    def since(self, older: Changelog) -> str:
        """Lines that an older release's notes do not have: for notes without version headings."""
        for text in self.texts[:1]:
            for before in older.texts[:1]:
                added = (
                    [
                        line[2:]
                        for line in difflib.ndiff(before.splitlines(), text.splitlines())
                        if line.startswith("+ ")
                    ]
                    if len(text) + len(before) < 200_000
                    else []
                )
                if 0 < len(added) <= 200:
                    return "\n".join(added).strip()
        return ""


def read_changelog(folder: Path) -> Changelog:
    """Files named as change logs are, then the readme and the long description of PKG-INFO."""
    texts: list[str] = []
    for where in _FOLDERS:
        place = folder / where
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            if path.is_file() and _NAMES.match(path.name) and path.stat().st_size <= _FILE_LIMIT:
                texts.append(path.read_text("utf-8", "replace"))
        for path in sorted(place.iterdir()):
            if path.is_dir() and _NAMES.match(path.name):
                pages = [p for p in sorted(path.rglob("*")) if p.suffix in (".rst", ".md", ".txt")]
                texts.extend(
                    f"{page.stem}\n{'=' * len(page.stem)}\n{page.read_text('utf-8', 'replace')}"
                    for page in pages[-200:]
                    if page.stat().st_size <= _FILE_LIMIT
                )
    for name in ("README.rst", "README.md", "README.txt", "README", "PKG-INFO"):
        path = folder / name
        if path.is_file() and path.stat().st_size <= _FILE_LIMIT:
            text = path.read_text("utf-8", "replace")
            texts.append(text.partition("\n\n")[2] if name == "PKG-INFO" else text)
    return Changelog(texts)


def section(text: str, version: str) -> str:
    """The lines between a version's heading and the next heading of a version.

    A heading is a Markdown heading, an underlined line, or a short line that begins with a
    version, maybe with a date.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    headings = [n for n in range(len(lines)) if _heading(lines, n)]
    for at, number in enumerate(headings):
        if not _same(_heading(lines, number), version):
            continue
        others = [n for n in headings[at + 1 :] if not _same(_heading(lines, n), version)]
        end = others[0] if others else len(lines)
        body = lines[number + 1 : end]
        while body and (not body[0].strip() or _UNDERLINE.match(body[0])):
            body.pop(0)
        while body and (not body[-1].strip() or _UNDERLINE.match(body[-1])):
            body.pop()
        if any(re.search(r"\w", line) for line in body):
            return "\n".join(line.rstrip() for line in body)
    return ""


def _heading(lines: list[str], number: int) -> str:
    """The version that a line is the heading of, "" for none."""
    line = lines[number].strip()
    if not line or len(line) > 100:
        return ""
    found = _VERSION.search(line)
    if found is None:
        return ""
    following = lines[number + 1] if number + 1 < len(lines) else ""
    marked = line.startswith("#") or _UNDERLINE.match(following)
    opening = re.match(r"(?i)^[\[*_=#\s(]*(version|release|changes in|new in)?[\s:]*$",
                       line[: found.start()])  # fmt: skip
    indented = lines[number][:1] in (" ", "\t")
    rest = line[found.end() :]
    dated = re.fullmatch(r"[\s\]*_):=,(–—-]*(?:\(?[\w\s,./:–—-]{0,40}\)?)?[\s:*_]*", rest)
    if marked or (opening and dated and not indented and len(line) < 60):
        return found[1]
    return ""


def _same(one: str, other: str) -> bool:
    """Equal versions, trailing zeros apart: 1.2 and 1.2.0."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
