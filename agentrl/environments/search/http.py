"""A retriever behind HTTP, by the protocol of Search-R1.

POST URL   {"queries": ["..."], "topk": 3, "return_scores": true}
answer     {"result": [[{"document": {"id": "..", "contents": "title\\ntext"}, "score": 1.5}]]}
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from agentrl.core import ConfigError, InfraError
from agentrl.environments.search.documents import Document, as_id
from agentrl.environments.search.retriever import Hit

_REMEMBERED = 100_000


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Document(_Lenient):
    id: str | int | None = None
    contents: str | None = None
    text: str | None = None
    title: str | None = None


class _Found(_Lenient):
    document: _Document
    score: float = 0.0


class _Answer(_Lenient):
    result: list[list[_Found]]


class _Unsteady(Exception):
    """What another try may mend."""


class HttpRetriever:
    """Asks a retrieval server; one instance serves all episodes of a run.

    Args:
        url: of the endpoint, such as http://127.0.0.1:8000/retrieve.
        seconds: of one try.
        tries: before the retriever counts as down; waits 0.2, 0.4, 0.8 .. s between them.
        concurrency: requests in flight at once; more wait.
    """

    def __init__(
        self, url: str, *, seconds: float = 10.0, tries: int = 4, concurrency: int = 64
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no http address", where="environment.url")
        self.url = url
        self._seconds, self._tries = seconds, tries
        self._places = asyncio.Semaphore(concurrency)
        self._session: Any = None
        self._seen: dict[str, Document] = {}

    async def search(self, query: str, top: int) -> list[Hit]:
        """Raises InfraError("retriever_down") when no try was answered sensibly."""
        body = {"queries": [query], "topk": top, "return_scores": True}
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._tries),
            wait=wait_exponential(0.2, max=5.0),
            retry=retry_if_exception_type(_Unsteady),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    answer = await self._ask(body)
        except _Unsteady as error:
            raise InfraError(
                "retriever_down",
                f"{self._tries} tries failed, the last by: {error}",
                where=self.url,
                fix="start the retrieval server, or raise its time limit",
            ) from error
        hits = [_hit(found) for found in answer.result[0][:top]]
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        self._seen.update({hit.passage.id: hit.passage for hit in hits})
        return hits

    async def passage(self, key: str) -> Document | None:
        """A passage that some search has returned: the protocol has no look-up."""
        return self._seen.get(key)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, body: dict[str, Any]) -> _Answer:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._seconds)
            )
        try:
            async with self._places, self._session.post(self.url, json=body) as response:
                text = await response.text()
                if response.status != 200:
                    raise _Unsteady(f"HTTP {response.status}: {text[:200]}")
        except TimeoutError:
            raise _Unsteady(f"no answer within {self._seconds:g} s") from None
        except (aiohttp.ClientError, UnicodeDecodeError) as error:
            raise _Unsteady(f"{type(error).__name__}: {error}") from error
        try:
            answer = _Answer.model_validate_json(text)
        except ValidationError as error:
            raise _Unsteady(f"not an answer of the protocol: {error.errors()[0]['msg']}") from error
        if not answer.result:
            raise _Unsteady("the answer has no result for the query")
        return answer


def _hit(found: _Found) -> Hit:
    document = found.document
    title, text = document.title or "", document.contents or document.text or ""
    if not title and "\n" in text:
        title, text = text.split("\n", 1)
    name = document.id if document.id is not None else title or text[:40]
    return Hit(Document(as_id(str(name)), text, title.strip('"')), found.score)
