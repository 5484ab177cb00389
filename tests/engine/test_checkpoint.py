import random
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from wsis.declare.stored import weights_file
from wsis.engine.checkpoint import FORMER, KEYS, load_checkpoint, save_checkpoint, save_model
from wsis.engine.seeding import rng_state, seed_of, seed_process, set_rng_state
from wsis.errors import WsisError
from wsis.files import checksum_file
from wsis.methods.weights import continue_parent, init_from_parent, load_model

CPU = torch.device("cpu")


def content(iteration: int, recipe: str = "toy-1") -> dict:
    made = dict.fromkeys(KEYS)
    return made | {
        "recipe": recipe,
        "iteration": iteration,
        "rng": [rng_state(CPU)],
        "model": {"w": torch.ones(3)},
    }


def test_the_last_checkpoint_is_loaded_and_no_temporary_file_stays(tmp_path):
    for iteration in (10, 20, 30):
        save_checkpoint(tmp_path, content(iteration))
    assert load_checkpoint(tmp_path, "toy-1")["iteration"] == 30
    names = [".last.pt.sha256", ".previous.pt.sha256", "last.pt", "previous.pt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    check = ["sha256sum", "-c", "--strict", ".last.pt.sha256", ".previous.pt.sha256"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "absent", "toy-1") is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_a_file_falls_back_to_the_one_before(tmp_path, share):
    save_checkpoint(tmp_path, content(10))
    save_checkpoint(tmp_path, content(20))
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.warns(UserWarning, match=r"last\.pt: unreadable"):
        assert load_checkpoint(tmp_path, "toy-1")["iteration"] == 10


def test_a_kill_between_the_renames_leaves_the_one_before(tmp_path):
    save_checkpoint(tmp_path, content(10))
    (tmp_path / "last.pt").rename(tmp_path / "previous.pt")
    assert load_checkpoint(tmp_path, "toy-1")["iteration"] == 10


def test_another_recipes_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path, content(10, "other-2"))
    with pytest.raises(WsisError, match=r"other-2.*toy-1"):
        load_checkpoint(tmp_path, "toy-1")


def test_a_checkpoint_that_could_run_code_is_not_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(content(10) | {"model": Trap()}, tmp_path / "last.pt")
    with pytest.warns(UserWarning, match="unreadable"):
        assert load_checkpoint(tmp_path, "toy-1") is None
    assert not (tmp_path / "ran").exists()


def test_process_wide_generators_continue_after_a_round_trip_through_a_file(tmp_path):
    seed_process(1)
    random.gauss(0, 1), np.random.randn(), torch.rand(3)
    torch.save(rng_state(CPU), tmp_path / "state.pt")
    draws = [random.gauss(0, 1), random.random(), np.random.randn(), torch.rand(2).tolist()]
    seed_process(2)
    set_rng_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert [random.gauss(0, 1), random.random(), np.random.randn(), torch.rand(2).tolist()] == draws


def test_seeds_differ_between_neighbours():
    seeds = {seed_of(seed, t, shard) for seed in range(5) for t in range(50) for shard in range(4)}
    assert len(seeds) == 5 * 50 * 4
    assert seed_of(1, 23) != seed_of(12, 3)


def test_init_copies_shared_weights_and_names_the_rest(tmp_path):
    parent, child = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    save_model(tmp_path, "toy-1", 5, parent)
    assert init_from_parent(child, tmp_path / "model.safetensors") == ["+ 1.bias", "+ 1.weight"]
    assert torch.equal(child[0].weight, parent[0].weight)
    assert load_model(tmp_path / "model.safetensors")["iteration"] == 5


def test_init_begins_the_childs_counter_anew(tmp_path):
    class Counts(nn.Linear):
        def __init__(self):
            super().__init__(2, 3)
            self.register_buffer("iteration", torch.tensor(0))

    parent, child = Counts(), Counts()
    parent.iteration += 500
    save_model(tmp_path, "toy-1", 500, parent)
    assert init_from_parent(child, tmp_path / "model.safetensors") == []
    assert child.iteration == 0 and torch.equal(child.weight, parent.weight)


def test_init_names_every_key_of_another_shape(tmp_path):
    save_model(tmp_path, "toy-1", 5, nn.Linear(2, 3))
    with pytest.raises(WsisError, match=r"weight \(\(3, 2\) there, \(4, 2\) here\), bias"):
        init_from_parent(nn.Linear(2, 4), tmp_path / "model.safetensors")


def test_init_from_something_unrelated_is_refused(tmp_path):
    save_model(tmp_path, "toy-1", 5, nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(WsisError, match="share no name"):
        init_from_parent(nn.Linear(2, 3), tmp_path / "model.safetensors")
    with pytest.raises(WsisError, match="no such file"):
        init_from_parent(nn.Linear(2, 3), tmp_path / "absent" / "model.safetensors")


def test_weights_of_former_versions_are_read_until_others_take_their_place(tmp_path):
    model = nn.Linear(2, 3)
    torch.save({"recipe": "toy-1", "iteration": 5, "model": model.state_dict()}, tmp_path / "model.pt")
    assert weights_file(tmp_path) == tmp_path / "model.pt"
    old = load_model(weights_file(tmp_path))
    save_model(tmp_path, "toy-1", 5, model)
    assert weights_file(tmp_path) == tmp_path / "model.safetensors" and not (tmp_path / "model.pt").exists()
    new = load_model(weights_file(tmp_path))
    assert (new["recipe"], new["iteration"]) == (old["recipe"], old["iteration"])
    assert all(torch.equal(new["model"][name], value) for name, value in old["model"].items())


def test_equal_weights_are_equal_files_and_shared_memory_is_no_obstacle(tmp_path):
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    model.register_buffer("part", model.weight.detach()[:2])
    for name in ("a", "b"):
        save_model(tmp_path / name, "toy-1", 5, model)
    assert weights_file(tmp_path / "a").read_bytes() == weights_file(tmp_path / "b").read_bytes()


def test_an_optimiser_is_kept_for_those_that_go_on_and_for_nobody_else(tmp_path):
    model = nn.Linear(2, 3)
    save_model(tmp_path, "toy-1", 5, model, {"optimizer": {"state": {}}, "scaler": {}})
    content, odd = continue_parent(model, weights_file(tmp_path), 5)
    assert content["optimizer"] == {"state": {}} and content["iteration"] == 5 and odd == []
    save_model(tmp_path, "toy-1", 5, model)
    with pytest.raises(WsisError, match="without its optimiser"):
        continue_parent(model, weights_file(tmp_path), 5)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    odd = {"w": torch.tensor([1.0, float(value)])}
    save_checkpoint(tmp_path, content(10))
    with pytest.raises(WsisError, match=r"last\.pt: not written, w is not finite"):
        save_checkpoint(tmp_path, content(20) | {"model": odd})
    (tmp_path / "last.pt").rename(tmp_path / "previous.pt")
    checksum_file(tmp_path / "last.pt").unlink()
    torch.save(content(20) | {"model": odd}, tmp_path / "last.pt")  # of a former version
    with pytest.warns(UserWarning, match=r"last\.pt: unreadable.*w is not finite"):
        assert load_checkpoint(tmp_path, "toy-1")["iteration"] == 10
    model = nn.Linear(2, 3)
    model.bias.data.fill_(float(value))
    with pytest.raises(WsisError, match=r"model\.safetensors: not written, bias is not finite"):
        save_model(tmp_path, "toy-1", 5, model)
    assert not (tmp_path / "model.safetensors").exists()


def test_checkpoints_of_former_versions_are_read(tmp_path):
    old = {key: value for key, value in content(10).items() if key in FORMER}
    torch.save(old, tmp_path / "last.pt")
    assert load_checkpoint(tmp_path, "toy-1")["iteration"] == 10
