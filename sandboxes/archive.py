"""Tar streams between host and sandbox. What comes out of a sandbox is hostile."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

MAX_BYTES = 2 << 30
MAX_ENTRIES = 200_000


def pack(source: Path, name: str, target: IO[bytes]) -> None:
    """Write a host file (under `name`) or the contents of a folder as tar."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if source.is_dir():
            for child in sorted(source.iterdir()):
                archive.add(child, arcname=child.name, filter=_whole_seconds)
        else:
            archive.add(source.resolve(strict=True), arcname=name)


def _whole_seconds(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A fraction of a second would take two more blocks and half of the time for every file."""
    info.mtime = int(info.mtime)
    return info


def unpack(source: IO[bytes], target: Path) -> None:
    """Extract a tar that came out of a sandbox: a folder's contents into `target`, or one file
    as `target`.

    Only folders, regular files and links that stay inside are made; nothing is written through a
    link; modes lose their special bits.

    Raises:
        OSError: unreadable archive (EBADMSG), more than MAX_BYTES or MAX_ENTRIES (EFBIG).
    """
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            _Extraction(target).run(archive)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise OSError(errno.EBADMSG, f"the sandbox sent no readable archive: {error}") from error


class _Extraction:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.bytes_left = MAX_BYTES
        self.entries_left = MAX_ENTRIES
        self.links: dict[Path, str] = {}

    def run(self, archive: tarfile.TarFile) -> None:
        first = True
        for member in archive:
            self.entries_left -= 1
            if self.entries_left < 0:
                raise OSError(errno.EFBIG, f"more than {MAX_ENTRIES} entries", str(self.target))
            if first and member.isreg() and "/" not in member.name:
                self.target.parent.mkdir(parents=True, exist_ok=True)
                self.file(archive, member, self.target)
                return
            if first:
                self.target.mkdir(parents=True, exist_ok=True)
            first = False
            self.member(archive, member)
        self.make_links()

    def member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = PurePosixPath(member.name).parts
        if not parts or parts[0].startswith("/") or ".." in parts:
            return
        path = self.target.joinpath(*parts)
        if not self.real_parents(path):
            return
        if member.isdir():
            if not path.is_symlink() and not path.exists():
                path.mkdir()
        elif member.isreg():
            self.file(archive, member, path)
        elif member.issym():
            self.links[path] = member.linkname
        elif member.islnk():
            self.hard_link(path, member.linkname)

    def real_parents(self, path: Path) -> bool:
        """Make the folders above a path; False when one of them is not a folder."""
        for parent in reversed(path.relative_to(self.target).parents[:-1]):
            place = self.target / parent
            if not os.path.lexists(place):
                place.mkdir()
            elif not stat.S_ISDIR(place.lstat().st_mode):
                return False
        return True

    def file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        self.bytes_left -= member.size
        if self.bytes_left < 0:
            raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes", str(self.target))
        content = archive.extractfile(member)
        if content is None or not self.cleared(path):
            return
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            shutil.copyfileobj(content, file, 1 << 18)
            os.fchmod(file.fileno(), 0o600 | (member.mode & 0o777))

    def hard_link(self, path: Path, linkname: str) -> None:
        """A second name of a file that has been extracted already: a copy of it."""
        parts = PurePosixPath(linkname).parts
        if not parts or parts[0].startswith("/") or ".." in parts:
            return
        original = self.target.joinpath(*parts)
        if not self.real_parents(original) or not os.path.lexists(original):
            return
        if not stat.S_ISREG(original.lstat().st_mode) or original == path:
            return
        self.bytes_left -= original.stat().st_size
        if self.bytes_left < 0:
            raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes", str(self.target))
        if self.cleared(path):
            shutil.copy(original, path)

    def cleared(self, path: Path) -> bool:
        """Take away an older file or link of that name; False for a folder."""
        if os.path.lexists(path):
            if stat.S_ISDIR(path.lstat().st_mode):
                return False
            path.unlink()
        return True

    def make_links(self) -> None:
        """Links come last, so that nothing is written through one; those leading out go.

        Each is judged by where it really leads once all are there: chains of links that look
        harmless one by one can leave the folder together.
        """
        made = set()
        for path, linkname in self.links.items():
            if linkname and self.real_parents(path) and self.cleared(path):
                path.symlink_to(linkname)
                made.add(path)
        root = os.path.realpath(self.target)
        while bad := {path for path in made if not _inside(path, root)}:
            for path in bad:
                path.unlink()
            made -= bad


def _inside(path: Path, root: str) -> bool:
    if os.path.isabs(os.readlink(path)):
        return False
    real = os.path.realpath(path)
    return real == root or real.startswith(root + os.sep)
