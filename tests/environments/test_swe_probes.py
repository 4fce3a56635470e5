"""Hidden probes of bugs in methods: what a class does on other inputs, in a real container."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from agentrl.core.taskfile import read_tasks
from agentrl.environments.swe import Grader, SynthSettings, synthesise
from agentrl.environments.swe.synth.probes import FILE
from agentrl.environments.swe.synth.recording import recorder
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import diff_trees
from agentrl.sandboxes import DockerPool

SOURCE = """\
class Account:
    fee = 1

    def __init__(self, balance):
        self.balance = balance
        self.log = []

    def pay(self, amount):
        def allowed(left):
            return left - amount >= 0
        if allowed(self.balance):
            self._take(amount)
        return self.balance

    def _take(self, amount):
        self.balance -= amount

    @property
    def rich(self):
        return self.balance > 100

    @staticmethod
    def price(count, each):
        return count * each

    def __repr__(self):
        return f"Account({self.balance})"
"""
TESTS = """\
from bank.account import Account

def test_pay():
    account = Account(10)
    assert account.pay(4) == 6

def test_rich():
    assert Account(150).rich

def test_price():
    assert Account.price(2, 3) == 6
"""


def write(folder: Path) -> Path:
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: bank\nVersion: 1\n",
        "src/bank/__init__.py": "",
        "src/bank/account.py": SOURCE,
        "tests/test_account.py": TESTS,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.docker
async def test_a_written_down_answer_fails_the_probes_of_methods(tmp_path: Path) -> None:
    settings = SynthSettings(
        count=100, per_function=100, operators=("arithmetic", "comparison"), max_test_seconds=1.0,
        repeats=2, parallel=1,
    )  # fmt: skip
    async with DockerPool(size=2, spare=0) as pool:
        await synthesise([str(write(tmp_path / "bank"))], tmp_path / "tasks.jsonl", pool, settings)
        tasks = read_tasks(tmp_path / "tasks.jsonl")
        probed = {t.metadata["function"].rpartition("::")[2] for t in tasks if t.metadata["probes"]}
        # A bug of `pay`, of what it calls, of a function inside it, of a property, of a static one.
        assert probed == {"Account.pay", "Account._take", "Account.rich", "Account.price"}
        task = next(t for t in tasks if t.metadata["function"].endswith("Account._take"))
        assert "balance += amount" in SweTask(task).base["src/bank/account.py"].decode()
        cheat = {
            **SweTask(task).base,
            "src/bank/account.py": SweTask(task)
            .base["src/bank/account.py"]
            .replace(b"return self.balance\n", b"return 6\n", 1),
        }
        grader = Grader(pool)
        try:
            graded = await grader.grade(task, diff_trees(SweTask(task).base, cheat))
            gold = await grader.grade(task, task.reference["gold_patch"])
        finally:
            grader.close()
    visible = [t for t in task.reference["fail_to_pass"] if not t.startswith(FILE)]
    assert graded.grading == "tests"
    assert (graded.resolved, graded.f2p_passed) == (False, len(visible))
    assert gold.resolved


def lines_of(tmp_path: Path, source: str, name: str, use: str) -> list[str]:
    file = tmp_path / "uses"
    space: dict[str, object] = {"__name__": "recorded_module"}
    module = types.ModuleType("recorded_module")
    sys.modules["recorded_module"] = module
    try:
        exec(compile(source + recorder(name, str(file)), "m", "exec"), module.__dict__)
        exec(use, module.__dict__, space)
    finally:
        del sys.modules["recorded_module"]
    return file.read_text().splitlines() if file.exists() else []


OBJECTS = """\
class Base:
    def step(self, n):
        self.n = getattr(self, "n", 0) + n
        return self.n
class Derived(Base):
    def twice(self, n):
        self.step(n)
        return self.step(n)
    def fail(self):
        raise KeyError
def outside(n):
    def inside(m):
        return m + 1
    return inside(n) if n < 3 else outside(n - 1)
"""


@pytest.mark.parametrize(
    ("name", "use", "lines"),
    [
        ("outside", "outside(4)", ["((('outside', (4,), {}),), '3')"]),
        (
            "Derived.twice", "d = Derived()\nd.twice(n=2)",
            ["((('__init__', (), {}), ('twice', (), {'n': 2}),), '4')"],
        ),
        # Of an object of another class nothing is written, nor of one after a call that failed.
        ("Base.step", "Derived().twice(1)", []),
        ("Derived.twice", "d = Derived()\ntry: d.fail()\nexcept KeyError: d.twice(1)", []),
    ],
)  # fmt: skip
def test_what_is_recorded_of_a_use(tmp_path, name, use, lines):
    assert lines_of(tmp_path, OBJECTS, name, use) == lines
