"""Hostile tar streams never reach beyond the folder they are unpacked into."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.sandboxes import archive

Member = tuple[str, bytes, str | bytes]


def make_tar(members: list[Member]) -> io.BytesIO:
    """Members are (name, tar type, content or link target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o6777
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                tar.addfile(info)
    stream.seek(0)
    return stream


DIR, FILE, SYM, HARD = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE: dict[str, list[Member]] = {
    "parent": [("./", DIR, b""), ("../escaped", FILE, b"x")],
    "deep parent": [("./a/../../escaped", FILE, b"x")],
    "absolute": [("./", DIR, b""), ("/tmp/agentrl-escaped", FILE, b"x")],
    "two slashes": [("./", DIR, b""), ("//tmp/agentrl-escaped", FILE, b"x")],
    "through a link": [("./", DIR, b""), ("./d", SYM, ".."), ("./d/escaped", FILE, b"x")],
    "through a hard link": [("./", DIR, b""), ("./h", HARD, "../outside"), ("./h", FILE, b"x")],
    "hard link to a link": [("./", DIR, b""), ("./l", SYM, "../outside"), ("./h", HARD, "l")],
    "absolute link": [("./", DIR, b""), ("./l", SYM, "/etc/passwd")],
    "chain of links": [
        ("./a/b/file", FILE, b"x"),
        ("./a/b/s1", SYM, "../.."),
        ("./a/b/s2", SYM, "s1/.."),
        ("./s3", SYM, "a/b/s2/outside"),
    ],
    "device": [("./", DIR, b""), ("./dev", tarfile.CHRTYPE, ""), ("./fifo", tarfile.FIFOTYPE, "")],
}


def outside_links(folder: Path) -> list[str]:
    root = os.path.realpath(folder)
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    return [str(path) for path in links if not os.path.realpath(path).startswith(root)]


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_gets_out(members: list[Member], tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    target = tmp_path / "target"
    archive.unpack(make_tar(members), target)
    assert sorted(os.listdir(tmp_path)) == ["outside", "target"]
    assert (tmp_path / "outside").read_text() == "secret"
    assert not Path("/tmp/agentrl-escaped").exists()
    assert outside_links(target) == []
    found = [path for path in target.rglob("*") if not path.is_symlink() and path.is_file()]
    assert all(path.read_text() != "secret" for path in found)
    assert all(path.lstat().st_mode & 0o7000 == 0 for path in found)


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c"]), min_size=1, max_size=4)
MEMBERS = st.lists(
    st.tuples(
        NAMES.map("/".join),
        st.sampled_from([DIR, FILE, SYM, HARD]),
        NAMES.map("/".join),
    ).map(lambda m: (m[0], m[1], b"x") if m[1] in (FILE, DIR) else m),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(MEMBERS)
def test_no_mixture_of_members_gets_out(members: list[Member]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "x" / "outside").mkdir(parents=True)
        target = top / "x" / "y" / "target"
        archive.unpack(make_tar([("./", DIR, b""), *members]), target)
        assert os.listdir(top) == ["x"]
        assert sorted(os.listdir(top / "x")) == ["outside", "y"]
        assert os.listdir(top / "x" / "y") == ["target"]
        assert os.listdir(top / "x" / "outside") == []
        assert outside_links(target) == []


def test_nothing_is_written_through_links_that_were_there_before(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "d").symlink_to("../outside")
    (target / "f").symlink_to("../outside/f")
    archive.unpack(make_tar([("./d/x", FILE, b"x"), ("./f", FILE, b"x")]), target)
    assert os.listdir(tmp_path / "outside") == []
    assert (target / "f").read_bytes() == b"x"


@pytest.mark.parametrize("data", [b"no tar at all" * 100, b"\0" * 300, os.urandom(2048)])
def test_garbage_is_an_error_not_a_crash(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no readable archive") as caught:
        archive.unpack(io.BytesIO(data), tmp_path / "target")
    assert caught.value.errno == errno.EBADMSG


def test_size_and_number_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 10)
    big: list[Member] = [("./a", FILE, b"x" * 600), ("./b", FILE, b"x" * 600)]
    with pytest.raises(OSError, match="more than 1000 bytes"):
        archive.unpack(make_tar(big), tmp_path / "big")
    copies: list[Member] = [("./a", FILE, b"x" * 600), ("./b", HARD, "./a")]
    with pytest.raises(OSError, match="more than 1000 bytes"):
        archive.unpack(make_tar(copies), tmp_path / "copies")
    many: list[Member] = [(f"./{number}", FILE, b"") for number in range(11)]
    with pytest.raises(OSError, match="more than 10 entries"):
        archive.unpack(make_tar(many), tmp_path / "many")
