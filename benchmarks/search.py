"""How fast an index answers: build time, median and 95th percentile of a query, 64 agents at once.

    python benchmarks/search.py --passages 100000 --json

The corpus is made from a seed: words with Zipf frequencies, 20 to 120 a passage; queries are 3 to 8
words that stand together in some passage, which is the expensive case for an inverted index.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from agentrl.environments.search import Index, build_index, open_index


def corpus(path: Path, passages: int, vocabulary: int, seed: int) -> list[str]:
    """Write the documents; returns queries cut out of them."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocabulary + 1) ** 1.05
    cumulative = np.cumsum(weights / weights.sum())
    pick = random.Random(seed)
    queries = []
    with path.open("w") as file:
        for i in range(passages):
            count = int(rng.integers(20, 120))
            ids = np.searchsorted(cumulative, rng.random(count))
            words = [f"w{w}" for w in ids]
            file.write(json.dumps({"id": i, "text": " ".join(words)}) + "\n")
            if len(queries) < 400 and pick.random() < 800 / passages:
                start = pick.randrange(count - 8)
                queries.append(" ".join(words[start : start + pick.randint(3, 8)]))
    return queries


def measure(index: Index, queries: list[str], agents: int) -> dict[str, float]:
    """Milliseconds of a query alone, and queries a second with that many agents."""
    for query in queries[:20]:
        index.find(query, 3)
    times = []
    for query in queries:
        started = time.perf_counter()
        index.find(query, 3)
        times.append(1000 * (time.perf_counter() - started))
    with ThreadPoolExecutor(agents) as pool:
        started = time.perf_counter()
        list(pool.map(lambda q: index.find(q, 3), queries * 2))
        seconds = time.perf_counter() - started
    return {
        "median_ms": median(times),
        "p95_ms": quantiles(times, n=20)[-1],
        "queries_per_second_at_64": 2 * len(queries) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--vocabulary", type=int, default=200_000)
    parser.add_argument("--backends", nargs="+", default=["tantivy", "bm25s"])
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "docs.jsonl"
        queries = corpus(documents, options.passages, options.vocabulary, options.seed)
        for backend in options.backends:
            target = Path(folder) / backend
            started, cpu = time.perf_counter(), time.process_time()
            build_index(target, [documents], backends=[backend])
            build = {
                "build_seconds": time.perf_counter() - started,
                "build_cpu_seconds": time.process_time() - cpu,
            }
            opened = time.perf_counter()
            index = open_index(target, backend)
            build["open_ms"] = 1000 * (time.perf_counter() - opened)
            found[backend] = build | measure(index, queries, options.agents)
            shown = ", ".join(f"{k} {v:.2f}" for k, v in found[backend].items())
            print(f"{backend:<8} {shown}", flush=True)
    if options.json:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"passages": options.passages, "peak_mb": memory, **found}))


if __name__ == "__main__":
    main()
