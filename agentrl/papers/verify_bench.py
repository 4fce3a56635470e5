"""Paper 70, VerifyBench: confusion, kappa, abstentions apart, and how form matters."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.toys import table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.diagnostics.benchmark import Confusion, Form, Labelled, Report, benchmark
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.verify import JudgeVerifier
from agentrl.rewards.verifiers import ExactMatch, Item, Math, Verifier

CLAIM = (
    "8 right acceptances, 1 wrong, 2 misses, 9 right rejections: accuracy .85, F1 .842, kappa "
    ".70; exact match is precise and misses, a lenient judge the reverse, symbolic checking is "
    "between."
)
PAIRS = (
    ("1/2", "0.5", True), ("0.50", "0.5", True), (r"\frac{1}{2}", "0.5", True),
    ("0.5", "0.5", True),
    ("2^3", "8", True), ("8", "8", True), ("eight", "8", True), ("8.0", "8", True),
    ("(x+1)^2", "x^2+2x+1", True), ("x^2+2x+1", "x^2+2x+1", True), ("1+x", "x+1", True),
    (r"\sqrt{4}", "2", True), ("2", "2", True), ("a half", "0.5", True), ("10^2", "100", True),
    ("3", "4", False), ("0.51", "0.5", False), ("7", "8", False), ("x+2", "x+1", False),
    ("-2", "2", False), ("(x-1)^2", "x^2+2x+1", False), ("3 or 4", "4", False), ("", "2", False),
    ("2^4", "8", False), (r"\sqrt{5}", "2", False), ("101", "100", False),
)  # fmt: skip


def items() -> list[Labelled]:
    forms: tuple[Form, ...] = ("extracted", "full")
    return [
        Labelled(
            Item("", a if form == "extracted" or not a else f"So it is\n{a}", r),
            right,
            "algebra" if "x" in r else "numbers",
            form,
        )
        for a, r, right in PAIRS
        for form in forms
    ]


def _report(verifier: Verifier, form: str | None = None) -> Report:
    return wait(benchmark(verifier, [i for i in items() if form in (None, i.form)], parallel=1))


def run(seeds: Sequence[int]) -> Measured:
    known = Confusion(tp=8, fp=1, fn=2, tn=9)
    lenient = JudgeVerifier(ScriptedChat(lambda text, seed: {"correct": "3 or 4" not in text}))
    exact, symbolic = (
        _report(ExactMatch(strict=True), "extracted"),
        _report(Math(seconds=30), "extracted"),
    )
    judged = _report(lenient, "extracted")
    silent = JudgeVerifier(ScriptedChat(lambda text, seed: "?"))
    careful = wait(benchmark(silent, items()[:8]))
    covering = wait(benchmark(silent, items()[:8], mode="coverage"))
    both = _report(ExactMatch(strict=True))
    domains = [c.accuracy for c in both.by_domain.values()]
    recalls = (exact.whole.recall, symbolic.whole.recall, judged.whole.recall)
    return table(
        [
            ("accuracy", 0.85, known.accuracy),
            ("precision", 8 / 9, known.precision),
            ("recall", 0.8, known.recall),
            ("F1", 16 / 19, known.f1),
            ("kappa", 0.70, known.kappa),
            ("precision of exact match", 1.0, exact.whole.precision),
            ("precision of math", 1.0, symbolic.whole.precision),
            ("recall: exact < math < lenient", 1.0, float(recalls[0] < recalls[1] < recalls[2])),
            ("the lenient judge is less precise", 1.0, float(judged.whole.precision < 0.8)),
            ("abstentions, conservative", 8.0, careful.whole.abstained),
            ("counted as rejections", 8.0, careful.whole.total),
            ("left out in coverage mode", 0.0, covering.whole.total),
            ("macro average", sum(domains) / 2, both.macro),
            ("exact match depends on form", 1.0, float(both.form_sensitivity > 0.1)),
        ]
    )
