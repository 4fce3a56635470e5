"""The image made from local files: complete, fast to start, rebuilt only when something changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from agentrl.core import SandboxError
from agentrl.sandboxes import DockerEngine, DockerSandbox, ensure_image

pytestmark = pytest.mark.docker


async def test_it_has_what_a_programmer_needs(container: DockerSandbox) -> None:
    script = """
set -e
git init -q r && cd r && echo 'def test(): assert 1' >test_x.py
git add . && git -c user.name=a -c user.email=a@b commit -q -m x && git log --stat
python -m pytest -q -p no:cacheprovider | tail -1; pytest --version
ps -ef | tail -1 >/dev/null; find . -name '*.py' | xargs grep -n def | sed s/def/DEF/ | sort
tar cf - . | gzip | tar tzf - >/dev/null; diff -u test_x.py /dev/null | head -1
which git; whoami; date -u +%Z; echo ok
"""
    result = await container.exec(script)
    assert result.output.endswith("/usr/bin/git\nagent\nUTC\nok\n"), result.output
    assert "1 passed" in result.output


async def test_every_program_finds_its_libraries_and_its_interpreter(
    container: DockerSandbox,
) -> None:
    code = """
import os, subprocess
for folder in ("/usr/bin", "/usr/local/bin"):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            head = file.read(200)
        if head[:2] == b"#!":
            program = head[2:].split()[0].decode()
            if not os.path.exists(program): print(path, "needs", program)
        else:
            # The loader only lists what it finds.
            found = subprocess.run([path], env={"LD_TRACE_LOADED_OBJECTS": "1"},
                                   capture_output=True, text=True)
            if "not found" in found.stdout or found.returncode: print(path, found)
"""
    await container.write("check.py", code)
    result = await container.exec("python3 -S check.py", timeout=60)
    assert (result.output, result.exit_code) == ("", 0)


async def test_every_module_of_python_loads(container: DockerSandbox) -> None:
    modules = [name for name in sys.stdlib_module_names if not name.startswith("_")]
    skipped = {"antigravity", "this", "idlelib", "turtledemo", "tkinter", "turtle", "test"}
    here = [name for name in modules if name not in skipped]
    code = f"""
import importlib, importlib.util
for name in {sorted(here)!r}:
    try: importlib.import_module(name)
    except ImportError as error:
        if "No module named 'msvcrt'" not in str(error): print(name, error)
"""
    await container.write("check.py", code)
    output = (await container.exec("python3 check.py", timeout=60)).output
    windows = {"msilib", "msvcrt", "nt", "winreg", "winsound", "ossaudiodev", "nis", "spwd"}
    assert {line.split()[0] for line in output.splitlines()} <= windows


async def test_python_and_pytest_are_compiled(container: DockerSandbox) -> None:
    """Nothing but what changed is compiled at start: it could not be written back."""
    code = (
        "import importlib.util as u, sys, pytest, _pytest.main, json, asyncio, unittest.mock;"
        "print([n for n, m in sys.modules.items() if getattr(m, '__file__', None)"
        " and m.__file__.endswith('.py') and not __import__('os').path.exists("
        "u.cache_from_source(m.__file__))])"
    )
    assert (await container.exec(f'python3 -c "{code}"')).output == "[]\n"
    verbose = await container.exec("python3 -v -c 'import pytest, asyncio' 2>&1")
    assert "matches /" in verbose.output
    assert not re.search(r"code object from '[^']*\.py'", verbose.output)


def test_the_tag_is_stable_and_found_again(engine: DockerEngine, image: str) -> None:
    before = engine.api.inspect_image(image)["Id"]
    assert ensure_image(engine=engine) == image
    assert engine.api.inspect_image(image)["Id"] == before


async def test_packages_can_be_added_as_a_layer(
    engine: DockerEngine, image: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("value = 1\n")
    first = ensure_image("test", extra_site=tmp_path, packages=["PyYAML"], engine=engine)
    assert first.startswith("agentrl/test:")
    (tmp_path / "mine" / "__init__.py").write_text("value = 2\n")
    second = ensure_image("test", extra_site=tmp_path, engine=engine)
    assert first != second
    code = "import mine, pytest; print(mine.value, mine.__cached__)"
    try:
        for tag, value in ((first, "1"), (second, "2")):
            sandbox = await DockerSandbox.create(engine, tag)
            output = (await sandbox.exec(f"python3 -c '{code}'")).output
            known = await sandbox.exec("python3 -c 'import yaml'")
            await sandbox.close()
            assert output.startswith(value)
            assert known.ok == (tag == first), known.output
    finally:
        for tag in (first, second):
            engine.api.remove_image(tag, force=True)


async def test_any_base_image_will_do(engine: DockerEngine, image: str) -> None:
    """The way through a Dockerfile; the base is the local one, as there may be no registry."""
    tag = ensure_image(base=image, engine=engine)
    try:
        sandbox = await DockerSandbox.create(engine, tag)
        assert (await sandbox.exec("python3 -m pytest --version; whoami")).ok
        await sandbox.close()
    finally:
        engine.api.remove_image(tag, force=True)


def test_a_base_image_that_cannot_be_had_says_so(engine: DockerEngine) -> None:
    with pytest.raises(SandboxError, match="base=None"):
        ensure_image(base="127.0.0.1:9/nobody/nothing:1", engine=engine)
