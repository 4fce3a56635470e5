"""A bash that remembers, whatever happens to a command."""

import pytest

from agentrl.tools import Bash


@pytest.fixture
def bash(sandbox, root) -> Bash:
    return Bash(sandbox, str(root), timeout=10.0)


async def test_state_lasts_from_call_to_call(call, bash, root):
    await call(bash, "bash", command="cd calc; export NAME='a b\n$c'; plain=7; list=(x 'y z')")
    await call(bash, "bash", command="greet() { echo hello $1; }; alias ll='ls -l'; set -f")
    seen = await call(
        bash,
        "bash",
        command='pwd; printf "%s|" "$NAME" $plain "${list[1]}"; greet you; alias ll; echo $-; '
        'python3 -c \'import os; print(os.environ["NAME"], "plain" in os.environ)\'',
    )
    lines = seen.text.splitlines()
    assert lines[0] == f"{root}/calc"
    assert lines[1:3] == ["a b", "$c|7|y z|hello you"]
    assert lines[3] == "alias ll='ls -l'"
    assert "f" in lines[4]
    assert lines[5:] == ["a b", "$c False"]


async def test_exit_and_failure_keep_what_was_done_before(call, bash, root):
    result = await call(bash, "bash", command="cd tests; X=1; exit 5")
    assert result.text == "[exit code 5]"
    assert (await call(bash, "bash", command="echo $X; pwd")).text == f"1\n{root}/tests"
    assert (await call(bash, "bash", command="set -e; Y=2; false; echo no")).text == "[exit code 1]"
    assert (await call(bash, "bash", command="echo $Y")).text == "2"


async def test_a_syntax_error_is_the_commands_own(call, bash):
    await call(bash, "bash", command="X=1")
    result = await call(bash, "bash", command="if true; fi")
    assert "syntax error" in result.text
    assert "agentrl" not in result.text
    assert (await call(bash, "bash", command="echo $X")).text == "1"


async def test_a_deadline_costs_the_command_and_not_the_shell(call, sandbox, root):
    bash = Bash(sandbox, str(root), timeout=1.0)
    await call(bash, "bash", command="cd calc; X=1")
    for hang in ("X=2; cd /; sleep 99", "X=2; while :; do :; done", "trap '' INT TERM; sleep 99"):
        result = await call(bash, "bash", command=hang)
        assert result.error == "deadline"
        assert result.text == "error: stopped after its deadline of 1 s"
        assert (await call(bash, "bash", command="echo $X; pwd")).text == f"1\n{root}/calc"


async def test_killing_the_shell_is_survived(call, bash, root):
    await call(bash, "bash", command="cd calc; X=1")
    assert (await call(bash, "bash", command="kill -9 $$")).text == "[exit code 137]"
    assert (await call(bash, "bash", command="exec true")).text == "(no output)"
    assert (await call(bash, "bash", command="echo $X; pwd")).text == f"1\n{root}/calc"


async def test_background_programs_go_on(call, bash, root):
    await call(bash, "bash", command="(sleep 0.4; echo done >later) >/dev/null 2>&1 &")
    assert (await call(bash, "bash", command="sleep 1; cat later")).text == "done"


async def test_restart_forgets(call, bash, root):
    await call(bash, "bash", command="cd /; X=1")
    assert (await call(bash, "bash", restart=True)).text == "restarted"
    assert (await call(bash, "bash", command='echo "[$X]"; pwd')).text == f"[]\n{root}"
    again = await call(bash, "bash", command='echo "[$X]"', restart=True)
    assert again.text == "[]"


async def test_small_errors_of_models(call, bash):
    assert (await call(bash, "bash", command="  ")).text == "error: the command is empty"
    assert (await call(bash, "bash", command="```bash\necho fenced\n```")).text == "fenced"
    assert (await call(bash, "bash", command="a\0b")).error == "refused"
    odd = (await call(bash, "bash", command="echo 'it''s' \"$(echo sub)\" `echo tick` \\\\")).text
    assert odd == "its sub tick \\"


async def test_what_a_model_leaves_in_the_state_cannot_break_the_next_call(call, bash):
    await call(bash, "bash", command="readonly R=1; set -eu; shopt -s extglob; PS4=$(echo x)")
    assert (await call(bash, "bash", command="echo $R; echo ok")).text == "1\nok"
    await call(bash, "bash", command="unset PATH")
    text = (await call(bash, "bash", command="ls")).text
    assert text == "bash: line 1: ls: No such file or directory\n[exit code 127]"
    await call(bash, "bash", restart=True)
    assert (await call(bash, "bash", command="ls -d calc")).text == "calc"
