"""An agent that searches a corpus within a budget, cites what it found and answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from agentrl.core import Episode, Message, Task, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.search.documents import Document
from agentrl.environments.search.retriever import Hit, Retriever
from agentrl.rewards.grammar import SEARCH_TAGS
from agentrl.rewards.turns import well_formed
from agentrl.tools import ToolError, tool

Style = Literal["tools", "tags"]
ANSWERS = {
    "claim": "Label: SUPPORT, REFUTE or NOT ENOUGH INFO\nEvidence: [[id]], [[id]]",
    "question": "Answer: a few words\nEvidence: [[id]], [[id]]",
}
_LINES = {
    "claim": re.compile(
        r"\s*Label:\s*(SUPPORT|REFUTE|NOT ENOUGH INFO)\s*\n\s*Evidence:[ \t]*([^\n]*?)\s*"
    ),
    "question": re.compile(r"\s*Answer:[ \t]*([^\n]+?)\s*\n\s*Evidence:[ \t]*([^\n]*?)\s*"),
}
_CITED = re.compile(r"\[\[([^\s\[\]]+)\]\]")
_CITES = re.compile(r"(?:none|\[\[[^\s\[\]]+\]\](?:\s*,\s*\[\[[^\s\[\]]+\]\])*)?", re.IGNORECASE)
# A line of results as the environment writes it: in what the policy says, an invention.
_RESULT = re.compile(r"^\s*\[\[[^\s\[\]]+\]\]:|</?information>", re.MULTILINE)
_TAG = re.compile(r"<(?=/?[A-Za-z_|])")
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
_SEARCH = re.compile(r"<search>(.*?)</search>\s*$", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class SearchEnvironment(Environment):
    """Search, read, answer with ids.

    `task.payload["kind"]` is "claim" (a label) or "question" (an answer). What a document says is
    untrusted: it is put on one line, and what could pass for a control token, a tag or a citation
    of the environment's is broken.

    Args:
        retriever: shared by all episodes; not closed here. A path opens an index.
        searches: budget of an episode.
        top: passages of a result.
        characters: of a passage in a result; `read` gives more of it.
        style: "tools": calls of `search` and `read`; "tags": <search>..</search> in the text, as
            Search-R1 does, answered by <information>..</information>, ended by <answer>..</answer>.
    """

    shared = ("_retriever",)

    def __init__(
        self,
        retriever: Retriever | str | Path,
        *,
        searches: int = 3,
        top: int = 3,
        characters: int = 600,
        style: Style = "tools",
    ) -> None:
        if isinstance(retriever, str | Path):
            from agentrl.environments.search.index import open_index

            retriever = open_index(retriever)
        self._retriever = retriever
        self._budget, self._top, self._characters, self._style = searches, top, characters, style
        self.searches = 0
        self.retrieved: dict[str, None] = {}

    @property
    def tools(self) -> dict[str, Any]:
        return super().tools if self._style == "tools" else {}

    def reset(self, task: Task) -> list[Message]:
        kind = task.payload.get("kind", "question")
        form = ANSWERS[kind]
        if self._style == "tags":
            how = (
                f"Search with <search>words</search>, {self._budget} times at most, think in "
                f"<think> after each result, and end with <answer>\n{form}\n</answer>."
            )
        else:
            how = f"Search {self._budget} times at most, then end with two lines:\n{form}"
        self._kind = kind
        return [Message("system", how), Message("user", task.prompt)]

    @tool(timeout=60.0)
    async def search(self, query: str) -> str:
        """Search the documents.

        Args:
            query: words that the wanted text has.
        """
        if self.searches >= self._budget:
            raise ToolError("no searches are left: answer now")
        self.searches += 1
        hits = await self._retriever.search(query, self._top)
        self.retrieved.update(dict.fromkeys(hit.passage.id for hit in hits))
        left = self._budget - self.searches
        lines = [self._line(hit) for hit in hits] or ["nothing was found"]
        return "\n".join([*lines, f"({left} search{'es' * (left != 1)} left)"])

    @tool(timeout=60.0)
    async def read(self, id: str) -> str:
        """Read a passage in full.

        Args:
            id: as it stands in the results, without the brackets.
        """
        found = await self._retriever.passage(id.strip("[] "))
        if found is None:
            raise ToolError(f"there is no passage {id!r}")
        self.retrieved[found.id] = None
        return f"[[{found.id}]]: {whole(found)}"

    async def step(self, turn: Turn) -> Observation:
        if self._style == "tools":
            return await super().step(turn)
        if _ANSWER.search(turn.text):
            return Observation([], done=True)
        asked = _SEARCH.search(turn.text)
        if asked is None:
            return Observation(
                [Message("user", "Write <search>..</search> or <answer>..</answer>.")]
            )
        try:
            found = await self.search(asked[1].strip())
        except ToolError as error:
            return Observation([Message("user", f"error: {error}")])
        return Observation([Message("user", f"<information>{found}</information>")])

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"answer", "label", "cited", "retrieved", "searches", "format", "problems"}."""
        last = episode.turns[-1].text if episode.turns else ""
        if self._style == "tags":
            problems = SEARCH_TAGS.problems(_conversation(episode))
            inside = _ANSWER.search(last)
            last = inside[1] if inside else ""
        else:
            problems = _problems(episode)
            last = _THINKING.sub("", last)
        match = _LINES[self._kind].fullmatch(last)
        if match is None or not _CITES.fullmatch(match[2]):
            problems.append("the answer is not of the two lines asked for")
        answer = match[1] if match else ""
        return {
            "answer": answer,
            "label": answer if self._kind == "claim" else "",
            "cited": _CITED.findall(match[2]) if match else [],
            "retrieved": list(self.retrieved),
            "searches": self.searches,
            "format": not problems,
            "problems": problems,
        }

    def _line(self, hit: Hit) -> str:
        text = whole(hit.passage)
        cut = text if len(text) <= self._characters else f"{text[: self._characters]}..."
        return f"[[{hit.passage.id}]]: {cut}"


def whole(passage: Document) -> str:
    """A passage on one line, harmless."""
    return harmless(f"{passage.title}: {passage.text}" if passage.title else passage.text)


def harmless(text: str) -> str:
    """Untrusted text on one line, with brackets, tags and control tokens broken by a space."""
    text = " ".join(text.split())
    return _TAG.sub("< ", text).replace("[[", "[ [").replace("]]", "] ]")


def _problems(episode: Episode) -> list[str]:
    """What is wrong with the form of the messages before the answer, and inventions in all."""
    wrong = []
    if any(_RESULT.search(turn.text) for turn in episode.turns):
        wrong.append("a message pretends to be a search result")
    if not all(well_formed(turn) for turn in episode.turns[:-1]):
        wrong.append("a message is neither a call nor the answer")
    if episode.turns and episode.turns[-1].calls:
        wrong.append("there is no answer")
    return wrong


def _conversation(episode: Episode) -> str:
    """What was said and shown, one after the other; an error shown is not information."""
    parts = []
    for turn in episode.turns:
        parts.append(turn.text)
        parts += [m.content for m in turn.observations if m.content.startswith("<information>")]
    return "\n".join(parts)
