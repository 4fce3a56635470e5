"""What to synthesise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentrl.core import ConfigError
from agentrl.environments.swe.synth.bugs import SHAPES, Shape
from agentrl.environments.swe.synth.mutations import OPERATORS
from agentrl.environments.swe.synth.verify import Visible

TRAIN, HELD_OUT = "train", "held_out"


@dataclass(slots=True, frozen=True)
class SynthSettings:
    """What to make.

    Attributes:
        count: tasks for training.
        held_out: further tasks, on functions that no training task is on.
        operators: names in `mutations.OPERATORS`.
        shapes: "single" (one edit), "lines" (two edits of one function), "files" (two edits in
            two files, in functions that some test enters both of); they take turns.
        max_function_lines: longest function that is mutated, docstring and decorators not counted.
        max_file_lines: longest file that is mutated.
        per_function: at most this many tasks on one function.
        visible: which failing tests the agent's copy keeps: one ("reproduction"), "all", "none".
        repeats: runs of the unchanged suite that a test must pass to be used.
        max_test_seconds: slower tests are left out.
        max_pass_to_pass: tests of a task that must stay passing, at most.
        suite_timeout: seconds for one run of the whole suite.
        parallel: sandboxes at work at once.
        probes: hidden tests on inputs beside those of the package's tests, at most, see `probes`.
        keep: which bugs are tried, by their gold patch; None: all.
        check: grade the gold patch and the empty patch of every task.
        python: the interpreter inside the sandbox; it needs pytest.
    """

    count: int = 100
    held_out: int = 0
    operators: tuple[str, ...] = tuple(OPERATORS)
    shapes: tuple[Shape, ...] = ("single",)
    max_function_lines: int = 40
    max_file_lines: int = 1000
    per_function: int = 3
    seed: int = 0
    visible: Visible = "reproduction"
    repeats: int = 3
    max_test_seconds: float = 0.5
    max_pass_to_pass: int = 200
    suite_timeout: float = 600.0
    parallel: int = 2
    probes: int = 8
    keep: Callable[[str], bool] | None = None
    check: bool = True
    python: str = "python3"

    def __post_init__(self) -> None:
        """Raises ConfigError for an unknown operator or a number out of range."""
        unknown = [name for name in self.operators if name not in OPERATORS]
        if unknown or not self.operators:
            raise ConfigError(
                f"unknown mutation operator: {', '.join(unknown) or '(none given)'}",
                where="operators",
                fix=f"allowed: {', '.join(OPERATORS)}",
            )
        if not self.shapes or not set(self.shapes) <= set(SHAPES):
            raise ConfigError("unknown shape", where="shapes", fix=f"allowed: {', '.join(SHAPES)}")
        for name in ("count", "per_function", "repeats", "parallel", "max_function_lines"):
            if getattr(self, name) < 1:
                raise ConfigError("must be at least 1", where=name)
        if self.held_out < 0:
            raise ConfigError("must not be negative", where="held_out")
