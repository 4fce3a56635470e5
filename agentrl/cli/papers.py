"""`agentrl papers`: what is here, and whether its claims hold."""

from __future__ import annotations

import argparse
from typing import Any

from agentrl.cli.show import aligned, print_lines


def add_commands(commands: Any) -> None:
    papers = commands.add_parser("papers", help="the papers behind agentrl, and checks of them")
    actions = papers.add_subparsers(dest="action", required=True, metavar="ACTION")
    show_all = actions.add_parser("list", help="all papers, by number")
    show_all.add_argument("--works", action="store_true", help="only those that have a check")
    show_all.set_defaults(run=_list)
    show = actions.add_parser("show", help="one paper")
    show.add_argument("key", help="its key or number")
    show.set_defaults(run=_show)
    check = actions.add_parser(
        "check",
        help="run a paper's claim in the small",
        description="Exit code 1 when the effect is not there on some seed.",
    )
    check.add_argument("key", help="its key or number; `all` for every one that has a check")
    check.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED")
    check.set_defaults(run=_check)


def _list(options: argparse.Namespace) -> int:
    from agentrl.papers import list_papers

    papers = [p for p in list_papers() if p.status == "works" or not options.works]
    rows = [(str(p.number), p.key, p.name, p.status, p.becomes) for p in papers]
    print_lines(aligned([("no", "key", "name", "status", "here"), *rows]))
    works = sum(paper.status == "works" for paper in papers)
    print(f"{len(papers)} papers, {works} with a check that runs")
    return 0


def _show(options: argparse.Namespace) -> int:
    from agentrl.papers import get

    paper = get(options.key)
    print(f"{paper.number}. {paper.name}: {paper.title}")
    print(f"key     {paper.key}")
    print(f"here    {paper.becomes}")
    print(f"where   {', '.join(paper.rooms)}")
    print(f"status  {paper.status}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from agentrl.papers import check

    if options.key == "all":
        return _check_all(options.seeds)
    result = check(options.key, options.seeds)
    print(result.claim)
    print()
    print(result.table())
    print()
    verdict = "the effect is there" if result.passed else "the effect is NOT there"
    print(f"{result.key}: {verdict} ({result.seconds:.0f} s)")
    return 0 if result.passed else 1


def _check_all(seeds: list[int]) -> int:
    """A line for each paper as it is done; one that cannot run (no Docker) fails and the next goes
    on."""
    from agentrl.core import AgentRLError
    from agentrl.papers import check, list_papers

    failed = []
    papers = [p for p in list_papers() if p.status == "works"]
    for paper in papers:
        try:
            result = check(paper.key, seeds)
            passed, said = result.passed, f"{result.seconds:.0f} s"
        except (AgentRLError, ImportError) as error:
            passed, said = False, str(error)
        print(
            f"{'holds ' if passed else 'FAILED'}  {paper.number:>2}  {paper.key}  {said}",
            flush=True,
        )
        if not passed:
            failed.append(paper.key)
    print(f"{len(papers) - len(failed)} of {len(papers)} claims hold on seeds {seeds}")
    if failed:
        print(f"not there: {', '.join(failed)}")
    return 1 if failed else 0
