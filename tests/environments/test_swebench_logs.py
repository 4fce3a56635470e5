"""Rows and logs of SWE-bench's format: the verdicts are those of the swebench package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import ConfigError, TaskFileError
from agentrl.environments.swe.swebench.logs import END, EXIT_CODE, START, log_verdict
from agentrl.environments.swe.swebench.rows import load_set, reversed_patch, to_tasks
from agentrl.environments.swe.swebench.script import evaluation, patched_files
from agentrl.environments.swe.tree import apply_diff, diff_trees

F2P = ["t/test_a.py::test_one", "t/test_a.py::test_cut[log(photon", "t/test_b.py::C::test_two"]
P2P = ["t/test_a.py::test_kept", "t/test_b.py::test_skipped"]


def official(tmp_path: Path, log: str, *, parser: str, eval_type: str, f2p: list, p2p: list):
    from swebench.harness.grading import get_eval_report
    from swebench.harness.utils import make_test_spec

    path = tmp_path / "test_output.txt"
    path.write_text(log)
    spec = make_test_spec(
        {
            "instance_id": "x__y-1", "image": "i", "repo": "x/y", "version": "1",
            "FAIL_TO_PASS": json.dumps(f2p), "PASS_TO_PASS": json.dumps(p2p),
            "log_parser": parser, "eval_type": eval_type, "eval_script": "true",
        }
    )  # fmt: skip
    prediction = {"instance_id": "x__y-1", "model_patch": "diff"}
    return get_eval_report(spec, prediction, str(path), include_tests_status=True)["x__y-1"]


def agree(tmp_path: Path, log: str, parser="parse_log_pytest", eval_type="pass_and_fail",
          f2p=F2P, p2p=P2P) -> bool:  # fmt: skip
    ours = log_verdict(log, f2p, p2p, parser=parser, eval_type=eval_type)
    theirs = official(tmp_path, log, parser=parser, eval_type=eval_type, f2p=f2p, p2p=p2p)
    assert ours.resolved == theirs["resolved"], log
    assert ours.valid == theirs["patch_successfully_applied"], log
    if ours.valid:
        status = theirs["tests_status"]
        assert ours.f2p_passed == status["FAIL_TO_PASS"]["success"], log
        assert ours.p2p_passed == status["PASS_TO_PASS"]["success"], log
    return ours.resolved


def wrapped(*lines: str, code: int | None = 0, end: bool = True) -> str:
    text = ["+ git apply", f"+ : '{START}'", *lines]
    text += [f"+ : '{END}'"] if end else []
    text += [f"{EXIT_CODE}: {code}"] if code is not None else []
    return "\n".join(text) + "\n"


GOOD = ["PASSED t/test_a.py::test_one", "PASSED t/test_a.py::test_cut[log(photon) - x]",
        "XFAIL t/test_b.py::C::test_two - why", "PASSED t/test_a.py::test_kept",
        "SKIPPED t/test_b.py::test_skipped"]  # fmt: skip
LOGS = {
    "resolved": wrapped(*GOOD),
    "no exit code": wrapped(*GOOD, code=None),
    "failed, and told so": wrapped(*GOOD[1:], "FAILED t/test_a.py::test_one - assert 1", code=1),
    "a failure elsewhere": wrapped(*GOOD, "FAILED t/test_z.py::other - x", code=1),
    "exit code 1 without any failure": wrapped(*GOOD, code=1),
    "error": wrapped(*GOOD[1:], "ERROR t/test_a.py::test_one - boom", code=1),
    "missing test": wrapped(*GOOD[:-2]),
    "skipped fail-to-pass": wrapped("SKIPPED t/test_a.py::test_one", *GOOD[1:]),
    "cut name, two that differ": wrapped(
        *GOOD, "FAILED t/test_a.py::test_cut[log(photon)b] - x", code=1),
    "no end": wrapped(*GOOD, end=False),
    "nothing ran": wrapped("ModuleNotFoundError"),
    "outside the markers": "\n".join([*GOOD, START, "x", END]),
    "patch failed": wrapped(*GOOD, ">>>>> Patch Apply Failed"),
    "timed out": wrapped(*GOOD, ">>>>> Tests Timed Out"),
    "summary of skips": wrapped(*GOOD, "SKIPPED [3] t/test_q.py:4: reason"),
    "one twice": wrapped(*GOOD, "FAILED t/test_a.py::test_one - no", code=1),
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("eval_type", ["pass_and_fail", "fail_only"])
def test_verdicts_are_those_of_the_swebench_package(tmp_path, name, eval_type):
    resolved = agree(tmp_path, LOGS[name], eval_type=eval_type)
    if name in ("resolved", "no exit code", "summary of skips"):
        assert resolved


lines = st.lists(
    st.tuples(
        st.sampled_from(["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "noise"]),
        st.sampled_from([*F2P, *P2P, "t/test_a.py::test_cut[log(photon)z]", "[100%]"]),
        st.sampled_from(["", " - assert x", "  "]),
    ).map("{0[0]} {0[1]}{0[2]}".format),
    max_size=12,
)


@given(lines=lines, code=st.sampled_from([None, 0, 1, 5]), end=st.booleans())
def test_any_log_has_the_official_verdict(tmp_path_factory, lines, code, end):
    agree(tmp_path_factory.getbasetemp(), wrapped(*lines, code=code, end=end))


@pytest.mark.parametrize(
    ("parser", "log", "tests"),
    [
        ("parse_log_django", "test_a (m.T) ... ok\ntest_b (m.T) ... FAIL\n",
         ["test_a (m.T)", "test_b (m.T)"]),
        ("parse_log_pytest_v2", "PASSED t.py::a\nt.py::b FAILED\n", ["t.py::a", "t.py::b"]),
        ("parse_log_sympy", "test_a ok\ntest_b F\n", ["test_a", "test_b"]),
        ("parse_log_gotest", "--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.1s)\n",
         ["TestA", "TestB"]),
        ("parse_log_cargo", "test a::b ... ok\ntest a::c ... FAILED\n", ["a::b", "a::c"]),
    ],
)  # fmt: skip
def test_logs_of_other_runners_go_to_the_official_parsers(tmp_path, parser, log, tests):
    for f2p in ([tests[0]], tests):
        resolved = agree(tmp_path, wrapped(log), parser=parser, f2p=f2p, p2p=[])
        assert resolved == (f2p == [tests[0]])
    with pytest.raises(ConfigError, match="no log parser"):
        log_verdict(wrapped(log), tests, [], parser="parse_log_of_nobody")


VERIFIED = {
    "instance_id": "octo__tool-12", "repo": "octo/tool", "base_commit": "abc", "version": "1.0",
    "patch": "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n",
    "test_patch": "", "problem_statement": "It says a.", "hints_text": "", "created_at": "2020",
    "FAIL_TO_PASS": '["t.py::a"]', "PASS_TO_PASS": '["t.py::b"]', "environment_setup_commit": "",
}  # fmt: skip


def test_rows_of_every_family_become_tasks(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(VERIFIED) + "\n")
    (task,) = load_set(str(path))
    assert (task.id, task.prompt, task.environment) == ("octo__tool-12", "It says a.", "swebench")
    assert task.payload["image"] == "swebench/sweb.eval.x86_64.octo_1776_tool-12:latest"
    assert task.reference["fail_to_pass"] == ["t.py::a"]
    assert task.metadata["repository"] == "github.com/octo/tool"
    assert "patch" not in task.payload
    smith = {**VERIFIED, "repo": "swesmith/octo__tool.0a1b", "image_name": "i:1",
             "FAIL_TO_PASS": ["t.py::a"]}  # fmt: skip
    (task,) = to_tasks([smith], "smith")
    assert task.payload["image"] == "i:1"
    assert task.metadata["repository"] == "github.com/octo/tool"
    assert task.payload["bug"] == VERIFIED["patch"]
    assert "+a\n-b\n" in task.reference["gold_patch"]
    rebench = {
        **VERIFIED,
        "docker_image": "d:1",
        "install_config": {"test_cmd": "pytest -rA", "log_parser": "parse_log_pytest_v2"},
    }
    (task,) = to_tasks([rebench], "rebench")
    assert task.reference["test_command"] == "pytest -rA"
    assert task.reference["log_parser"] == "parse_log_pytest_v2"
    r2e = {
        "repo_name": "octo",
        "commit_hash": "0123456789abcdef",
        "docker_image": "r:1",
        "problem_statement": "p",
        "expected_output_json": json.dumps(
            {"test_a": "PASSED", "test_b": "PASSED", "test_c": "FAILED"}
        ),
        "execution_result_content": json.dumps(
            {"old_commit_res_stdout": "FAILED test_a - x\nPASSED test_b\n"}
        ),
    }
    (task,) = to_tasks([r2e], "r2e")
    assert task.reference["fail_to_pass"] == ["test_a"]
    assert task.reference["pass_to_pass"] == ["test_b"]


def test_rows_inside_the_requests_of_nemo_gym_are_read() -> None:
    inner = {**VERIFIED, "docker_image": "n:1"}
    metadata = {
        "instance_id": inner["instance_id"],
        "problem_statement": inner["problem_statement"],
        "dataset_name": "any",
        "split": "train",
        "instance_dict": json.dumps(inner),
    }
    row = {"responses_create_params": {"input": [], "metadata": metadata}, "agent_ref": {}}
    (plain,) = to_tasks([inner], "rows")
    (wrapped_in,) = to_tasks([row], "rows")
    assert (wrapped_in.payload, wrapped_in.reference) == (plain.payload, plain.reference)
    metadata["instance_dict"] = "{"
    with pytest.raises(TaskFileError, match="instance_dict"):
        list(to_tasks([row], "rows"))


def test_parquet_and_jsonl_are_the_same(tmp_path: Path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([VERIFIED]), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text(json.dumps([VERIFIED]))
    one, other = (load_set(str(tmp_path / f"rows.{kind}")) for kind in ("parquet", "json"))
    assert one[0].payload == other[0].payload
    assert one[0].reference == other[0].reference


def test_what_is_wrong_with_a_row_is_said(tmp_path: Path):
    with pytest.raises(TaskFileError, match="fail_to_pass") as error:
        list(to_tasks([{k: v for k, v in VERIFIED.items() if k != "FAIL_TO_PASS"}], "set"))
    assert "set:1" in str(error.value)
    with pytest.raises(ConfigError, match="no such file"):
        load_set(str(tmp_path / "nothing.parquet"))


def test_a_reversed_patch_undoes():
    old = {"a.py": b"1\n2\n3\n", "gone.py": b"x\n"}
    new = {"a.py": b"1\n2b\n3\n4\n", "made.py": b"y\n"}
    assert apply_diff(new, reversed_patch(diff_trees(old, new))) == old


def test_the_script_runs_the_tests_of_the_patch_between_the_markers():
    patch = "diff --git a/t/test_a.py b/t/test_a.py\n--- a/t/test_a.py\n+++ b/t/test_a.py\n"
    patch += "diff --git a/t/data.json b/t/data.json\n--- a/t/data.json\n+++ b/t/data.json\n"
    assert patched_files(patch) == ["t/test_a.py", "t/data.json"]
    script = evaluation("/testbed", patch, "", "", ["t/test_a.py::a"])
    assert "pytest -rA -p no:cacheprovider t/test_a.py\n" in script
    assert script.index(START) < script.index("pytest -rA") < script.index(END)
    theirs = f"#!/bin/bash\n: '{START}'\n./run\n: '{END}'\ngit checkout x\n"
    kept = evaluation("/testbed", patch, "", theirs, [])
    assert f"./run\nAGENTRL_EXIT=$?\n: '{END}'\necho \"{EXIT_CODE}: $AGENTRL_EXIT\"\n" in kept
