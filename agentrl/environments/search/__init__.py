"""Search: an index over documents, and an agent that searches, cites and answers."""

from agentrl.environments.search.documents import Document, read_documents
from agentrl.environments.search.environment import SearchEnvironment
from agentrl.environments.search.http import HttpRetriever
from agentrl.environments.search.index import BuildReport, Index, build_index, open_index
from agentrl.environments.search.retriever import Hit, Retriever, fuse

__all__ = [
    "BuildReport",
    "Document",
    "Hit",
    "HttpRetriever",
    "Index",
    "Retriever",
    "SearchEnvironment",
    "build_index",
    "fuse",
    "open_index",
    "read_documents",
]
