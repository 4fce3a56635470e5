"""No container outlives its owner, however the owner ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentrl.sandboxes import DockerEngine, reap
from agentrl.sandboxes.owner import OWNER, alive, identity, owner

CHILD = """
import asyncio, sys, time
from agentrl.sandboxes import DockerEngine, DockerSandbox, ProcessSandbox
async def main():
    box = await DockerSandbox.create(DockerEngine(), sys.argv[1])
    plain = await ProcessSandbox.create()
    work = asyncio.gather(box.exec("sleep 500"), plain.exec("sleep 500.5"))
    await asyncio.sleep(0.3)
    print(box.id, plain.workdir, flush=True)
    {ending}
asyncio.run(main())
"""


def names(engine: DockerEngine) -> list[str]:
    found = engine.api.containers(all=True, filters={"label": OWNER})
    return [container["Names"][0].lstrip("/") for container in found]


def gone(check: object, seconds: float = 10.0) -> bool:
    assert callable(check)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.1)
    return False


def run_child(image: str, ending: str) -> tuple[subprocess.Popen[str], str, Path]:
    code = CHILD.format(ending=ending)
    child = subprocess.Popen(
        [sys.executable, "-c", code, image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    name, workdir = child.stdout.readline().split()
    return child, name, Path(workdir)


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_owner_leaves_nothing(engine: DockerEngine, image: str, number: int) -> None:
    child, name, workdir = run_child(image, "await work")
    assert name in names(engine)
    assert workdir.exists()
    child.send_signal(number)
    child.wait(20)
    assert gone(lambda: name not in names(engine))
    assert gone(lambda: not workdir.exists())
    assert gone(lambda: subprocess.run(["pgrep", "-f", "sleep 500.5"]).returncode != 0)


@pytest.mark.docker
@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise RuntimeError", "return"])
def test_leaving_without_closing_leaves_nothing(
    engine: DockerEngine, image: str, ending: str
) -> None:
    child, name, workdir = run_child(image, ending)
    child.wait(20)
    assert gone(lambda: name not in names(engine))
    assert gone(lambda: not workdir.exists())


@pytest.mark.docker
def test_reaping_takes_those_of_the_dead_only(engine: DockerEngine, image: str) -> None:
    dead = subprocess.Popen(["sleep", "60"])
    label = identity(dead.pid)
    assert alive(label)
    dead.kill()
    dead.wait()
    made = {}
    for name, value in {"dead": label, "mine": owner(), "elsewhere": "otherhost b n 1 1"}.items():
        config = {"Image": image, "Cmd": ["sleep", "60"], "Labels": {OWNER: value}}
        made[name] = engine.api.create_container_from_config(config, f"agentrl-test-{name}")
        engine.api.start(made[name]["Id"])
    try:
        # Another process that starts just now may have been first; gone it must be.
        assert set(reap(engine)) <= {"agentrl-test-dead"}
        left = names(engine)
        assert "agentrl-test-dead" not in left
        assert {"agentrl-test-mine", "agentrl-test-elsewhere"} <= set(left)
    finally:
        for name in ("mine", "elsewhere"):
            engine.api.remove_container(made[name]["Id"], force=True)


@pytest.mark.docker
def test_networks_volumes_and_images_of_the_dead_go_too(engine: DockerEngine, image: str) -> None:
    dead = subprocess.Popen(["true"])
    dead_label = identity(dead.pid)
    dead.wait()
    dead_label = dead_label if dead_label.split(" ")[-1] else f"{owner().rsplit(' ', 2)[0]} 1 1"
    api = engine.api
    for what, value in {"dead": dead_label, "mine": owner()}.items():
        name = f"agentrl-test-{what}"
        api.create_network(name, internal=True, labels={OWNER: value})
        api.create_volume(name, labels={OWNER: value})
        text = f"FROM {image}\nLABEL {OWNER}={json.dumps(value)}\n".encode()
        list(api.build(fileobj=io.BytesIO(text), tag=f"agentrl-test:{what}", rm=True, decode=True))
    try:
        reap(engine)
        assert [n["Name"] for n in api.networks(names=["agentrl-test-"])] == ["agentrl-test-mine"]
        volumes = api.volumes(filters={"name": "agentrl-test-"})["Volumes"]
        assert [v["Name"] for v in volumes] == ["agentrl-test-mine"]
        assert [i["RepoTags"] for i in api.images("agentrl-test")] == [["agentrl-test:mine"]]
    finally:
        api.remove_network("agentrl-test-mine")
        api.remove_volume("agentrl-test-mine")
        api.remove_image("agentrl-test:mine")


def test_a_reused_pid_is_not_its_former_owner() -> None:
    host, boot, namespace, pid, start = owner().split(" ")
    assert alive(owner())
    assert not alive(f"{host} {boot} {namespace} {pid} {int(start) - 1}")
    assert not alive(f"{host} another-boot {namespace} {pid} {start}")
    assert alive(f"{host} {boot} pid:[1] {pid} 5")
    assert not alive(identity(os.getpid()).replace(pid, "4194999"))
    zombie = subprocess.Popen(["true"])
    time.sleep(0.2)
    label = identity(zombie.pid)
    assert not alive(label)
    zombie.wait()


@pytest.mark.docker
def test_a_forked_child_does_not_remove_its_parents_containers(
    engine: DockerEngine, image: str
) -> None:
    fork = "import os; pid = os.fork(); pid or sys.exit(0); os.waitpid(pid, 0);"
    child, name, _ = run_child(image, f"{fork} print('ok', flush=True); await work")
    assert child.stdout is not None
    assert child.stdout.readline() == "ok\n"
    assert name in names(engine)
    child.kill()
    child.wait()
    assert gone(lambda: name not in names(engine))
