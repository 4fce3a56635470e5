"""Snapshots of real sandboxes: what is put back is what was there, and nothing else."""

from __future__ import annotations

import pytest

from agentrl.core import NoSnapshot, RestorableSandbox
from agentrl.sandboxes.base import SupervisedSandbox

# Everything about the files of a folder that a program could tell: kind, mode, size, time of the
# last change to the nanosecond, link target, which names are one file, and the content.
LOOK = (
    "find . -mindepth 1 -printf '%P|%y|%m|%s|%T@|%l|%n\\n' | sed 's/d\\(|[0-7]*|\\)[0-9]*/d\\1/' "
    "| LC_ALL=C sort; find . -type f ! -perm 0 -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum; "
    "stat -c '%a %Y' ."
)
MAKE = """
mkdir -p 'a b'/empty deep/x; printf 'one\\n' > 'a b/one'; ln 'a b/one' twin; ln -s ../nowhere l
head -c 300000 /dev/urandom > big; truncate -s 5M sparse; printf x > run; chmod 750 run
touch -d '2001-02-03 04:05:06.123456789' deep/x/old; chmod 1777 deep; mkfifo pipe
printf 'new\\nline' > $'na\\nme'; touch -- -dash; chmod 555 'a b/empty'
"""


async def test_every_file_is_put_back_as_it_was(sandbox: SupervisedSandbox) -> None:
    assert isinstance(sandbox, RestorableSandbox)
    assert (await sandbox.exec(MAKE)).ok
    assert (await sandbox.exec('cd /tmp 2>/dev/null; cd "$TMPDIR"; echo t > t; echo h > ~/h')).ok
    before = (await sandbox.exec(LOOK)).output
    assert len(before.splitlines()) > 12
    snapshot = await sandbox.snapshot()
    for _ in range(2):
        await sandbox.exec("rm -rf deep big; echo other > twin; touch more ~/more; sleep 100.471 &")
        await sandbox.restore(snapshot)
        assert (await sandbox.exec(LOOK)).output == before
        assert (await sandbox.exec('cat "$TMPDIR/t" ~/h; ls ~')).output == "t\nh\nh\n"
        assert (await sandbox.exec("pgrep -f 'sleep 100[.]471'")).output == ""


async def test_a_kept_program_is_no_hindrance_but_one_of_the_agents_is(
    sandbox: SupervisedSandbox,
) -> None:
    program = await sandbox.start(["cat"])
    assert await program.request("hello", timeout=5) == "hello"
    await sandbox.snapshot()
    assert await program.request("still here", timeout=5) == "still here"
    await sandbox.exec("(sleep 100 &) ; nohup sleep 100 >/dev/null 2>&1 &")
    with pytest.raises(NoSnapshot, match="programs run"):
        await sandbox.snapshot()


async def test_what_the_agent_cannot_read_is_said_and_not_left_out(
    sandbox: SupervisedSandbox,
) -> None:
    await sandbox.exec("echo secret > shut; chmod 000 shut")
    if (await sandbox.exec("cat shut")).ok:
        return  # who runs this is root, whom no mode stops
    with pytest.raises(NoSnapshot, match="cannot be kept"):
        await sandbox.snapshot()
