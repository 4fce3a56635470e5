"""Checkpoints are whole or absent, and come back bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.store import DamagedCheckpointError, RunStore, StoreError
from agentrl.store.tree import flatten, unflatten


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.create(tmp_path / "run", {}) as opened:
        yield opened


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.floats(width=32), max_size=4).map(lambda x: torch.tensor(x))
    | st.lists(st.integers(0, 255), max_size=4).map(lambda x: np.array(x, np.uint8))
    | st.integers(0, 9).map(np.int64)
)
trees = st.recursive(
    leaves,
    lambda t: (
        st.lists(t, max_size=3)
        | st.lists(t, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.just("$"), t, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


@settings(max_examples=150, deadline=None)
@given(trees)
def test_nested_state_survives_json(tree: Any) -> None:
    import json

    tensors: dict[str, Any] = {}
    text = json.dumps(flatten(tree, tensors))
    assert same(unflatten(json.loads(text), tensors), tree)


def test_training_goes_on_exactly_where_it_was(store: RunStore) -> None:
    def trainer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5))
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
        losses = []
        for _ in range(3):
            x = torch.rand(4, 8) + random.random() + np.random.rand()
            loss = model(x).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    model, optimizer = trainer()
    train(model, optimizer)
    state = {
        "optimizer": optimizer.state_dict(),
        "rng": {
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
            "numpy": np.random.get_state(),
        },
        "sampler": np.random.default_rng(7).bit_generator.state,
    }
    store.save_checkpoint(3, model.state_dict(), state)
    expected = train(model, optimizer)

    model, optimizer = trainer()
    back = store.load_checkpoint()
    assert back.step == 3
    model.load_state_dict(back.tensors)
    optimizer.load_state_dict(back.state["optimizer"])
    torch.set_rng_state(back.state["rng"]["torch"])
    random.setstate(back.state["rng"]["python"])
    np.random.set_state(back.state["rng"]["numpy"])
    assert train(model, optimizer) == expected
    assert same(back.state["sampler"], state["sampler"])


def test_tied_and_overlapping_tensors(store: RunStore) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "embed": base,
        "head": base,
        "transposed": base.T,
        "row": base[1],
        "empty": torch.empty(0),
        "empty_too": torch.empty(0),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "scalar": torch.tensor(3),
    }
    path = store.save_checkpoint(1, tensors, {})
    back = store.load_checkpoint(1).tensors
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    assert back["head"] is back["embed"]
    assert (path / "model.safetensors").stat().st_size < 4 * base.nbytes + 1000


def test_only_the_last_are_kept_and_latest_points_at_the_newest(store: RunStore) -> None:
    for step in (1, 2, 3, 10):
        store.save_checkpoint(step, {"w": torch.tensor(float(step))}, {}, keep=2)
    assert store.checkpoints.steps() == [3, 10]
    assert (store.directory / "checkpoints/latest").read_text() == "step-000010"
    assert store.load_checkpoint().tensors["w"] == 10
    assert not list((store.directory / "checkpoints").glob(".*"))
    store.rewind(3)
    assert store.load_checkpoint().step == 3
    store.save_checkpoint(3, {"w": torch.tensor(33.0)}, {})
    assert store.load_checkpoint(3).tensors["w"] == 33


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "missing"])
def test_a_damaged_checkpoint_is_refused(store: RunStore, name: str, how: str) -> None:
    for step in (1, 2):
        store.save_checkpoint(step, {"w": torch.ones(8)}, {"m": torch.ones(8), "s": step})
    file = store.checkpoints.path(2) / name
    data = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[:-1])
    else:
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DamagedCheckpointError, match="step-000002 is damaged") as error:
        store.load_checkpoint()
    assert name in str(error.value)
    assert store.load_checkpoint(fall_back=True).step == 1


def test_all_damaged_is_an_error_even_with_fall_back(store: RunStore) -> None:
    store.save_checkpoint(1, {}, {})
    (store.checkpoints.path(1) / "manifest.json").write_text("{")
    with pytest.raises(DamagedCheckpointError, match=r"manifest\.json cannot be read"):
        store.load_checkpoint(fall_back=True)


def test_a_lost_pointer_is_no_loss(store: RunStore) -> None:
    store.save_checkpoint(1, {}, {})
    store.save_checkpoint(2, {}, {})
    pointer = store.directory / "checkpoints/latest"
    pointer.write_bytes(b"\xff")
    assert store.load_checkpoint().step == 2
    pointer.unlink()
    assert store.load_checkpoint().step == 2


def test_asking_for_a_checkpoint_that_is_not_there(store: RunStore) -> None:
    with pytest.raises(StoreError, match="no checkpoint yet"):
        store.load_checkpoint()
    store.save_checkpoint(4, {}, {})
    with pytest.raises(StoreError, match="no checkpoint of step 5") as error:
        store.load_checkpoint(5)
    assert "steps exist: 4" in str(error.value)


def test_state_that_cannot_be_stored_is_refused_not_dropped(store: RunStore) -> None:
    with pytest.raises(StoreError, match=r"cannot hold a builtins\.object"):
        store.save_checkpoint(1, {}, {"x": [object()]})
    assert store.checkpoints.steps() == []
