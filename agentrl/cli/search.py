"""`agentrl search`: make an index of documents, and ask it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    search = commands.add_parser("search", help="index documents for search agents")
    actions = search.add_subparsers(dest="action", required=True, metavar="ACTION")
    index = actions.add_parser(
        "index",
        help="make an index, or add to one",
        description="Documents are .jsonl or .parquet files (id, text, title), text files, or"
        " folders of them. Run again with more documents, it adds those whose id is new.",
    )
    index.add_argument("documents", nargs="+", type=Path, metavar="DOCS")
    index.add_argument("--out", type=Path, required=True, metavar="INDEX", help="the index folder")
    index.add_argument(
        "--backend",
        action="append",
        dest="backends",
        help="tantivy (default), bm25s or dense; give several to fuse them",
    )
    index.add_argument(
        "--sentences", type=int, default=0, metavar="N", help="cut passages of N sentences"
    )
    index.set_defaults(run=_index)
    query = actions.add_parser("query", help="show what an index finds")
    query.add_argument("index", type=Path)
    query.add_argument("query")
    query.add_argument("--top", type=int, default=3)
    query.add_argument("--backend")
    query.set_defaults(run=_query)


def _index(options: argparse.Namespace) -> int:
    from rich.console import Console

    from agentrl.environments.search import build_index
    from agentrl.environments.search.index import DEFAULT

    console = Console(stderr=True)
    with console.status("reading") as status:
        report = build_index(
            options.out,
            options.documents,
            backends=options.backends or [DEFAULT],
            sentences=options.sentences,
            told=lambda stage, done: status.update(f"{stage}: {done:,} passages"),
        )
    known = f", {report.known:,} known already" if report.known else ""
    print(
        f"{report.added:,} documents added{known}; {report.passages:,} passages in {options.out} "
        f"({', '.join(report.backends)})"
    )
    return 0


def _query(options: argparse.Namespace) -> int:
    from agentrl.environments.search import open_index

    index = open_index(options.index, options.backend)
    hits = index.find(options.query, options.top)
    for hit in hits:
        print(f"{hit.score:8.3f}  [[{hit.passage.id}]] {hit.passage.title}")
        print(f"          {' '.join(hit.passage.text.split())[:200]}")
    return 0 if hits else 1
