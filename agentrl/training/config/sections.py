"""What a run file may say: one class per section, one documented attribute per key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Tag, ValidationError, model_validator

from agentrl.guidance.settings import GuidanceSettings
from agentrl.learner.presets import merge
from agentrl.learner.settings import LearnerSettings
from agentrl.training.config.base import CUSTOM, Section, by_kind
from agentrl.training.config.curriculum import CurriculumConfig, ShuffleConfig
from agentrl.training.config.engines import EngineConfig, TransformersConfig
from agentrl.training.config.replay import ReplayConfig
from agentrl.training.config.sandboxes import DockerConfig, SandboxConfig
from agentrl.training.config.screens import BrowserConfig, ScreenConfig


class ModelConfig(Section):
    """The policy. `model: NAME` is short for `model: {path: NAME}`."""

    path: str
    """A model directory (Hugging Face layout) or a hub name such as Qwen/Qwen3-0.6B."""
    dialect: str = "auto"
    """How the model writes tool calls: deepseek, glm, hermes, json, llama, mistral, pythonic,
    qwen_xml, react; auto takes the one that reads what the chat template writes."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps, ..."""
    template: str | None = None
    """File with a Jinja chat template to use instead of the model's own."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given


class _Limits(Section):
    max_turns: Annotated[int, Field(ge=1)] = 16
    """Policy messages in one episode."""
    max_tokens: Annotated[int, Field(ge=1)] = 8192
    """Tokens of a whole conversation, observations included."""
    deadline: Annotated[float, Field(gt=0)] = 900.0
    """Seconds from an episode's first message to its last."""
    stuck_after: Annotated[int | None, Field(ge=2)] = None
    """Abort an episode after so many turns in a row with equal calls and answers; None: never."""
    concurrency: Annotated[int, Field(ge=1)] = 64
    """Episodes that run at once."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often an episode that infrastructure broke is run again before it is left out."""
    generating: Annotated[int | None, Field(ge=1)] = None
    """Messages that the engine is asked for at once; None is all that are waited for."""
    judging: Annotated[int | None, Field(ge=1)] = None
    """Episodes that are judged at once; None is all that are done."""
    hopeless_after: Annotated[int | None, Field(ge=2)] = None
    """Give a group up when its first so many episodes all got the same reward; None: never."""


Scaffold = Literal["mini-swe-agent", "swe-agent", "openhands"]


class SweConfig(_Limits):
    """Repair a repository: the tests decide."""

    kind: Literal["swe"] = "swe"
    sandbox: SandboxConfig = DockerConfig()
    """Where the repository lives and the agent's commands run."""
    tools: list[str] | Scaffold | None = None
    """Names of the tools the policy gets, or the tools of a published scaffold; None: all."""
    compact: bool = False
    """Views without docstrings, lines counted from the function's first: for small policies."""
    test_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Deadline of one run of the agent's tests; of grading: this much processor time."""
    test_cpu_seconds: Annotated[float | None, Field(gt=0)] = None
    """Processor time of one run of either, rounded up: ends an endless loop early."""


class SearchConfig(_Limits):
    """Search documents, cite them, answer: a question or a claim."""

    kind: Literal["search"] = "search"
    index: str | None = None
    """Folder that `agentrl search index` made."""
    backend: str | None = None
    """tantivy, bm25s, dense or hybrid; None: the one that was built, hybrid for several."""
    url: str | None = None
    """Or a retrieval server (the protocol of Search-R1), such as http://127.0.0.1:8000/retrieve."""
    url_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Deadline of one request to it; a request is tried four times."""
    searches: Annotated[int, Field(ge=1)] = 3
    """Searches an episode may make."""
    top: Annotated[int, Field(ge=1)] = 3
    """Passages of one result."""
    characters: Annotated[int, Field(ge=40)] = 600
    """Characters shown of each."""
    style: Literal["tools", "tags"] = "tools"
    """Calls of `search` and `read`, or <search>..</search> in the text."""

    @property
    def sandbox(self) -> None:
        """Nothing is run here."""
        return None

    @model_validator(mode="after")
    def _one_source(self) -> SearchConfig:
        if (self.index is None) == (self.url is None):
            raise ValueError("give either `index` or `url`")
        return self


class GuiConfig(_Limits):
    """Work on a screen, and prove it with the numbers of the rounds that show it."""

    kind: Literal["gui"] = "gui"
    screen: ScreenConfig = BrowserConfig()
    """What the agent sits in front of: a browser, a recording, a desktop, a device."""
    screenshots: bool = False
    """Observations hold a screenshot beside the text."""
    marks: bool = False
    """The numbers of the elements are drawn on it."""
    max_elements: Annotated[int, Field(ge=1)] = 120
    """Elements that the text of a screen shows."""
    tools: list[str] | None = None
    """Names of the tools the policy gets; None is all of them."""
    evidence: bool = True
    """The system message asks for evidence that is complete, concise and creative."""
    sandbox: SandboxConfig | None = None
    """Where a desktop runs."""


class SimulatedConfig(_Limits):
    """Conversations over simulated tools, or over the services of a domain's folder."""

    kind: Literal["simulated"] = "simulated"
    domain: str | None = None
    """Folder with policy.md, db.json, tools.py and tasks.jsonl."""
    user_model: dict[str, Any] | None = None
    """Plays the users of a domain's tasks that have a goal: {kind: module:Name, its settings}."""
    cache: str | None = None
    """File of recorded calls (JSON Lines), shared by all episodes."""
    mode: Literal["record", "replay", "refresh"] = "replay"
    """Keep new answers, keep none, or ask everything once more."""
    tool_model: dict[str, Any] | None = None
    """Plays tools whose calls are not recorded; without it such a call is an error."""

    @property
    def sandbox(self) -> None:
        """Nothing is run here."""
        return None


class AgentConfig(_Limits):
    """An agent program of your own, behind the gateway; see docs/gateway.md."""

    kind: Literal["agent"] = "agent"
    program: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    """Python name module:function; awaited with a task and a URL, it runs the agent and returns
    the outcome that rewards read."""
    port: Annotated[int, Field(ge=0, lt=65536)] = 0
    """Port of the gateway on 127.0.0.1; 0 is any that is free."""
    stuck_after: None = None
    """Not for programs: they decide when to stop."""

    @property
    def sandbox(self) -> None:
        """The program makes its own."""
        return None


class CustomConfig(_Limits):
    """An environment of your own."""

    kind: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    """Python name module:Class of the environment."""
    sandbox: SandboxConfig | None = None
    """Given to the environment as its keyword `sandboxes` when set."""
    args: dict[str, Any] = {}
    """Keyword arguments of the class."""


EnvironmentConfig = Annotated[
    Annotated[SweConfig, Tag("kind=swe")]
    | Annotated[SearchConfig, Tag("kind=search")]
    | Annotated[SimulatedConfig, Tag("kind=simulated")]
    | Annotated[GuiConfig, Tag("kind=gui")]
    | Annotated[AgentConfig, Tag("kind=agent")]
    | Annotated[CustomConfig, Tag(f"kind={CUSTOM}")],
    by_kind(),
]


class TasksConfig(Section):
    """Where the tasks come from: JSON Lines files, one task a line."""

    train: str
    """Tasks to train on."""
    eval: str | None = None
    """Held-out tasks, never trained on."""
    limit: Annotated[int | None, Field(ge=1)] = None
    """Take only the first so many tasks of each file."""


class SamplingConfig(Section):
    """How the policy draws tokens."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy. Training needs more than 0: a group of equal episodes teaches nothing."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Tokens of one policy message; a message cut off there executes nothing."""


class StageConfig(Section):
    """What is different from a step on."""

    step: Annotated[int, Field(ge=1)]
    """The first step of the stage."""
    group_size: Annotated[int, Field(ge=1)]
    """Episodes per task, in the place of `learner.group_size`."""


class TrainConfig(Section):
    """The training loop."""

    steps: Annotated[int, Field(ge=1)] = 100
    """Batches of groups to train on."""
    rollouts: Annotated[int | None, Field(ge=1)] = None
    """Stop after the step in which so many training episodes were reached, guided ones counted."""
    tasks_per_step: Annotated[int, Field(ge=1)] = 8
    """Tasks of one step; each gets `learner.group_size` episodes."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Evaluate after every so many steps; 0: only before the first and after the last."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 10
    """Save everything after every so many steps (and at the end, and on Ctrl-C)."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Checkpoints that are kept."""
    stages: list[StageConfig] = []
    """Group sizes that grow with the steps (paper 5), such as [{step: 100, group_size: 16}]."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Everything random in the run follows from it."""

    def group_size(self, step: int, usual: int) -> int:
        """Of a step, counted from 1."""
        sizes = {s.step: s.group_size for s in self.stages if s.step <= step}
        return sizes[max(sizes)] if sizes else usual


class _Imitation(Section):
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the episodes."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Episodes of one optimiser step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of the imitation; `learner.learning_rate` is left for reinforcement learning."""
    limit: Annotated[int | None, Field(ge=1)] = None
    """Imitate at most so many episodes."""


class ScriptedWarmstart(_Imitation):
    """Imitate a scripted agent that works on the training tasks."""

    kind: Literal["scripted"] = "scripted"
    script: str
    """Python name module:Class of the scripted agent."""
    attempts: Annotated[int, Field(ge=1)] = 1
    """Episodes per training task."""
    judged: bool = True
    """Also judge them; imitation itself does not need it."""


class RecordedWarmstart(_Imitation):
    """Imitate episodes of an earlier run."""

    kind: Literal["recorded"] = "recorded"
    run: str
    """The run directory."""
    split: str = "train"
    """Which of its episodes."""
    min_reward: float | None = None
    """Only episodes that got at least this reward."""


WarmstartConfig = Annotated[
    Annotated[ScriptedWarmstart, Tag("kind=scripted")]
    | Annotated[RecordedWarmstart, Tag("kind=recorded")],
    by_kind("scripted"),
]


class EvalConfig(Section):
    """How the policy is measured; always without guidance."""

    split: Literal["eval", "train"] = "eval"
    """Which task file."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Episodes per task; pass@k is given for k up to this."""
    max_tasks: Annotated[int | None, Field(ge=1)] = None
    """Measure on the first so many tasks only."""
    temperature: Annotated[float | None, Field(ge=0)] = None
    """None is `sampling.temperature`."""
    seed: Annotated[int, Field(ge=0)] = 1_000_003
    """The same for every evaluation, so that before and after face the same draws."""


class RunSection(Section):
    """Where the run is kept."""

    dir: str = ""
    """The run directory; runs/<name of the run file> when not given."""


class RunConfig(Section):
    """A whole run file."""

    model: ModelConfig
    """The policy."""
    engine: EngineConfig = TransformersConfig()
    """Who produces tokens."""
    environment: EnvironmentConfig
    """What the policy acts in."""
    tasks: TasksConfig
    """What it is to do."""
    reward: dict[str, Any]
    """How an episode is judged: {kind: gated, ...}. Kinds and their settings: docs/rewards.md."""
    sampling: SamplingConfig = SamplingConfig()
    """How tokens are drawn."""
    learner: LearnerSettings = LearnerSettings()
    """How weights are learned."""
    train: TrainConfig = TrainConfig()
    """The loop."""
    guidance: GuidanceSettings | None = None
    """What to do when every rollout of a group fails; see docs/guidance.md."""
    warmstart: WarmstartConfig | None = None
    """Imitation before reinforcement learning; none when left out."""
    replay: ReplayConfig | None = None
    """Sample tasks again whose whole group failed; not done when left out."""
    curriculum: CurriculumConfig = ShuffleConfig()
    """Which tasks a step works on."""
    eval: EvalConfig = EvalConfig()
    """The measurement."""
    run: RunSection = RunSection()
    """The run directory."""

    @model_validator(mode="before")
    @classmethod
    def _guidance_tells_the_learner(cls, given: Any) -> Any:
        """Settings of the learner that belong to the guidance; what the file says itself counts."""
        if not isinstance(given, dict) or not isinstance(given.get("guidance"), dict):
            return given
        learner = given.get("learner", {})
        try:
            told = GuidanceSettings.model_validate(given["guidance"]).learner_defaults()
        except ValidationError:
            return given  # the section's own check says what is wrong
        if not told or not isinstance(learner, dict):
            return given
        return {**given, "learner": merge(told, learner)}

    def plain(self) -> dict[str, Any]:
        """The resolved configuration as JSON-able values; reading it gives this object again."""
        return self.model_dump(mode="json")


def kinds(annotation: Any) -> dict[str, type[BaseModel]]:
    """The members of a union made with `by_kind`, by kind; empty when it is none."""
    found: dict[str, type[BaseModel]] = {}
    _walk(annotation, found.__setitem__)
    return found


def _walk(annotation: Any, found: Callable[[str, type[BaseModel]], None]) -> None:
    marks = getattr(annotation, "__metadata__", ())
    for mark in marks:
        if isinstance(mark, Tag):
            found(mark.tag.removeprefix("kind="), annotation.__origin__)
            return
    for part in getattr(annotation, "__args__", ()):
        _walk(part, found)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section in an annotation, looking through `X | None` and `dict[str, X]`; None for a
    union of kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if kinds(annotation):
        return None
    found = (section_of(part) for part in getattr(annotation, "__args__", ()))
    return next((section for section in found if section), None)
