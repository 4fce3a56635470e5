"""A root file system for sandboxes, collected from the files of this machine.

Needs Linux with glibc. Takes the running Python (its standard library with compiled files), a
small userland (bash, coreutils, git, ...) and every shared library these need, all at the paths
they have here, so that nothing has to be relocated.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentrl.core import ConfigError

REQUIRED = ("bash", "sh", "cat", "ls", "rm", "find", "tar", "grep", "sed", "git", "ps")
COMMANDS = (
    "[ awk b2sum base64 basename bash bzip2 cat chmod chown cksum cmp column comm cp csplit cut "
    "date dd df diff diff3 dirname du echo egrep env expand expr factor false fgrep file find fmt "
    "fold free getopt git grep gunzip gzip head hostname id install join kill killall less link ln "
    "logname ls md5sum mkdir mkfifo mktemp mv nice nl nohup nproc numfmt od paste patch pgrep "
    "pkill pr printenv printf ps pwd readlink realpath rev rm rmdir sed seq setsid sh sha1sum "
    "sha256sum sha512sum shuf sleep sort split stat stdbuf stty sum sync tac tail tar tee test "
    "timeout top touch tr tree true truncate tsort tty uname unexpand uniq unlink uptime users "
    "watch wc which whoami xargs xz yes zcat"
)
SKIPPED_STDLIB = ("site-packages", "dist-packages", "test", "idlelib", "turtledemo")
SKIPPED_GIT = re.compile(r"http|imap|daemon|svn|cvs|p4|send-email|scalar|gui|instaweb|shell$")
DATA = (
    "/usr/share/git-core/templates",
    "/usr/lib/locale/C.utf8",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/services",
    "/etc/protocols",
    "/lib/terminfo/d/dumb",
    "/lib/terminfo/x/xterm",
)
# What manylinux wheels (PEP 600) may expect of the system, and what glibc opens by name.
WHEEL_LIBRARIES = (
    "libpthread libdl librt libutil libm libresolv libnss_files libgcc_s libstdc++ libz"
)
FILES = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/bash\n",
    "etc/group": "root:x:0:\nagent:x:1000:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/os-release": 'NAME="agentrl sandbox"\nID=agentrl\n',
}
FOLDERS = ("proc", "sys", "dev", "run", "root", "work", "home/agent", "usr/local/bin")


class Tree:
    """Files to put into an image under their own paths, links followed and kept."""

    def __init__(self) -> None:
        self.files: dict[Path, Path] = {}
        self.links: dict[Path, str] = {}

    def add(self, path: Path) -> Path:
        """Add a file with every link on its way; returns the real path."""
        current, parts = Path("/"), list(path.parts[1:])
        while parts:
            current /= parts.pop(0)
            if current.is_symlink():
                self.links[current] = os.readlink(current)
                target = os.path.normpath(current.parent / self.links[current])
                return self.add(Path(target).joinpath(*parts))
        self.files[current] = current
        return current

    def add_folder(self, folder: Path, skip: Iterable[str] = ()) -> None:
        for root, folders, names in os.walk(folder):
            if root == str(folder):
                folders[:] = [name for name in folders if name not in skip]
            for name in names:
                if not name.endswith((".opt-1.pyc", ".opt-2.pyc")):
                    self.add(Path(root, name))

    def programs(self) -> list[Path]:
        """The ELF files among them."""
        return [path for path, source in self.files.items() if _is_elf(source)]


def collect(packages: Iterable[str]) -> Tree:
    """Everything that belongs into the base image.

    Raises:
        ConfigError: not Linux with glibc, or a needed command is not installed.
    """
    if sys.platform != "linux" or shutil.which("ldd") is None:
        raise ConfigError(
            "an image can be made from local files only on Linux with glibc",
            fix="name a base image instead, such as python:3.11-slim",
        )
    tree = Tree()
    for command in userland():
        tree.add(command)
    _collect_python(tree)
    git = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
    for path in sorted(Path(git.stdout.strip()).iterdir()):
        if path.is_file() and not SKIPPED_GIT.search(path.name):
            tree.add(path)
    for alias in ("/bin", "/sbin", "/lib", "/lib64"):
        if Path(alias).is_symlink():
            tree.links[Path(alias)] = os.readlink(alias)
    for data in map(Path, DATA):
        if data.is_dir():
            tree.add_folder(data, skip=("posix", "right"))
        elif data.exists():
            tree.add(data)
    for source, target in package_files(packages):
        tree.files[target] = source
    _collect_libraries(tree)
    return tree


def userland() -> list[Path]:
    """The commands that are installed here. Raises ConfigError when a needed one is not."""
    search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    found = {name: shutil.which(name, path=search) for name in COMMANDS.split()}
    missing = [name for name in REQUIRED if found[name] is None]
    if missing:
        raise ConfigError(
            f"commands needed in a sandbox are not installed here: {', '.join(missing)}",
            fix="Debian and Ubuntu: apt-get install bash coreutils findutils git grep procps sed"
            " tar; or name a base image, such as python:3.11-slim",
        )
    return [Path(path) for path in found.values() if path is not None]


def interpreter() -> Path:
    """The running Python itself, outside any virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))


def site_packages() -> Path:
    """Where the base interpreter looks for packages."""
    code = "import json, site; print(json.dumps(site.getsitepackages()))"
    done = subprocess.run(
        [str(interpreter()), "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return Path(json.loads(done.stdout)[0])


def package_files(names: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """(here, in the image) for the files of installed packages and all they depend on.

    Raises:
        ConfigError: a package is not installed in the running environment.
    """
    target = site_packages()
    for distribution in with_dependencies(names):
        for file in distribution.files or []:
            here = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and not file.is_absolute() and here.is_file():
                yield here, target / file


def with_dependencies(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Installed packages and what they require here, by name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, importlib.metadata.Distribution] = {}
    todo = [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise ConfigError(
                f"package {name!r} is not installed in the running environment",
                where=sys.prefix,
                fix=f"pip install {name}",
            ) from error
        for text in found[name].requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed)
    return [found[name] for name in sorted(found)]


def write(tree: Tree, target: Path) -> None:
    """Write the tree as a tar file, owned by root, readable by all, with compiled Python."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _write_skeleton(archive)
        for path, link in sorted(tree.links.items()):
            _add_link(archive, path, link)
        with tempfile.TemporaryDirectory() as cache:
            add_files(archive, tree.files, Path(cache))
        python = interpreter()
        for name in ("python3", "python"):
            place = Path("/usr/local/bin", name)
            if place not in tree.files and place not in tree.links:
                _add_link(archive, place, str(python))
        if Path("/usr/local/bin/pytest") not in tree.files:
            text = f"#!{python}\nimport sys, pytest\nsys.exit(pytest.console_main())\n"
            _add_text(archive, "usr/local/bin/pytest", text, 0o755)


def add_files(archive: tarfile.TarFile, files: dict[Path, Path], cache: Path) -> None:
    """Add files (path in the image -> path here) and the compiled form of Python sources that
    come without one."""
    for path, source in sorted(files.items()):
        archive.add(source.resolve(), arcname=str(path).lstrip("/"), filter=_root_owned)
    for path, source in sorted(files.items()):
        if path.suffix == ".py":
            compiled = Path(importlib.util.cache_from_source(str(path)))
            if not _fresh(files.get(compiled), source) and _compile(source, path, cache / "pyc"):
                archive.add(
                    cache / "pyc", arcname=str(compiled).lstrip("/"), filter=_root_owned
                )  # fmt: skip


def _collect_python(tree: Tree) -> None:
    tree.add(interpreter())
    variables = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    for key in ("stdlib", "platstdlib"):
        folder = Path(sysconfig.get_path(key, vars=variables))
        config = [path.name for path in folder.glob("config-*")]
        tree.add_folder(folder, skip=(*SKIPPED_STDLIB, *config))


def _collect_libraries(tree: Tree) -> None:
    """Shared libraries of every program, and those that compiled wheels count on."""
    programs = tree.programs()
    done = subprocess.run(
        ["ldd", *map(str, (tree.files[path] for path in programs))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    libraries = {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.M)}
    for library in libraries:
        tree.add(library)
        if library.name.startswith("libc.so"):
            for folder in {library.parent, Path("/usr").joinpath(*library.parent.parts[1:])}:
                for extra in folder.glob("lib*.so.*"):
                    if extra.name.split(".so")[0] in WHEEL_LIBRARIES.split():
                        tree.add(extra)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _fresh(compiled: Path | None, source: Path) -> bool:
    """Whether a compiled file belongs to its source (PEP 552 header)."""
    if compiled is None:
        return False
    header = compiled.read_bytes()[:16]
    if header[:4] != importlib.util.MAGIC_NUMBER or header[4:8] != bytes(4):
        return False
    status = source.stat()
    expected = [int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF]
    return header[8:] == b"".join(number.to_bytes(4, "little") for number in expected)


def _compile(source: Path, path: Path, target: Path) -> bool:
    import py_compile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            py_compile.compile(str(source), str(target), str(path), doraise=True)
    except py_compile.PyCompileError:
        return False
    return True


def _root_owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mode = (info.mode & 0o777) | (0o555 if info.mode & 0o111 else 0o444)
    return info


def _write_skeleton(archive: tarfile.TarFile) -> None:
    for folder in (*FOLDERS, "tmp", "var/tmp"):
        info = tarfile.TarInfo(folder)
        info.type = tarfile.DIRTYPE
        info.mode = 0o1777 if folder.endswith("tmp") else 0o755
        archive.addfile(info)
    for name, text in FILES.items():
        _add_text(archive, name, text, 0o644)


def _add_text(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), mode
    archive.addfile(info, io.BytesIO(text.encode()))


def _add_link(archive: tarfile.TarFile, path: Path, target: str) -> None:
    info = tarfile.TarInfo(str(path).lstrip("/"))
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)
