"""The weights file and its recipe."""

import json

import pytest
import torch

from cmdiff_dicom.errors import WeightsFault
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.weights import build_network, load_weights, save_weights
from tests.support import small_weights

SMALL = small_weights.SMALL.but(split={"train": ("a", "b"), "test": ()})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    return path, save_weights(path, build_network(SMALL), SMALL)


def test_network_and_recipe_come_back_as_they_were_saved(tmp_path):
    network = build_network(SMALL)
    digest = save_weights(tmp_path / "weights.safetensors", network, SMALL)
    again, recipe, found = load_weights(tmp_path / "weights.safetensors", digest)
    assert recipe == SMALL and found == digest
    before = network.state_dict()
    assert all(torch.equal(value, before[name].half().float()) for name, value in again.state_dict().items())


def test_a_recipe_survives_json():
    assert Recipe.from_json(SMALL.to_json()) == SMALL


def test_an_altered_file_is_refused_by_its_digest(saved):
    path, digest = saved
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsFault, match="altered"):
        load_weights(path, digest)


def test_a_missing_a_cut_and_a_foreign_file_are_named_faults(tmp_path, saved):
    path, _ = saved
    with pytest.raises(WeightsFault, match="cannot be read"):
        load_weights(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsFault, match="damaged"):
        load_weights(cut)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsFault, match="no recipe"):
        load_weights(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("filter", "wavelet", "filter 'wavelet'"),
        ("network", "transformer", "network 'transformer'"),
        ("sampler", "euler", "sampler 'euler'"),
        ("format", 99, "format"),
        ("colour", "red", "colour"),
        ("channels", ["T1c", "T1", "T2", "FLAIR"], "channels"),
        ("steps", 0, "steps"),
    ],
)
def test_what_this_version_does_not_know_is_refused_by_name(field, value, said):
    content = json.loads(SMALL.to_json())
    content[field] = value
    with pytest.raises(WeightsFault, match=said):
        Recipe.from_json(json.dumps(content))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, build_network(SMALL), SMALL.but(condition=8))
    with pytest.raises(WeightsFault, match="do not fit"):
        load_weights(path)


def test_weights_are_held_in_half_precision(saved):
    path, _ = saved
    numbers = sum(value.numel() for value in build_network(SMALL).state_dict().values())
    assert path.stat().st_size < 2 * numbers + 20_000
