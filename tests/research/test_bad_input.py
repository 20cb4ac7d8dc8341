"""Bad input: each kind ends as a named error, or as a named, correct, empty result."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmdiff_dicom.errors import SettingsFault, WeightsFault
from cmdiff_dicom.records import PreparedStudy, Sequence
from cmdiff_dicom.research.augment import Augmenter
from cmdiff_dicom.research.brats import UnusableStudy, read_study
from cmdiff_dicom.research.plan import Plan
from cmdiff_dicom.research.studies import load_studies
from cmdiff_dicom.research.training import Training
from cmdiff_dicom.segment.recipe import Recipe
from cmdiff_dicom.segment.weights import build_network, load_weights, save_weights
from tests.support.commands import called

SILENT = Recipe(widths=(8, 8, 16, 16), condition=8, denoiser_widths=(8, 8, 16), steps=1, samples=1, threshold=1.0, precision="float32")
"""Of a network that calls nothing tumour."""


def called_on(command, folder, tmp_path, weights, *more):
    """The command on a folder, with weights."""
    own = {
        "evaluate": ["--weights", weights, "--json", tmp_path / "out.json"],
        "ablate": ["--weights", weights],
        "train": ["--from", weights, "--out", tmp_path / "run"],
    }
    return called(command, "--data", folder, "--device", "cpu", *own[command], *more)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "weights.safetensors", build_network(SILENT), SILENT)
    return tmp_path / "weights.safetensors"


@pytest.fixture
def as_it_is(monkeypatch):
    """Small studies are taken as they are: they are too small to be a brain."""

    def prepare(volumes, reference):
        image = np.stack([volumes[sequence].array for sequence in Sequence])
        grid = volumes[reference].geometry
        return PreparedStudy(image, np.ones(4, dtype=bool), (image != 0).any(axis=0), grid, grid)

    monkeypatch.setattr("cmdiff_dicom.analyse.prepare_study", prepare)


# --- images -----------------------------------------------------------------------------------


def spoiled(value):
    def change(voxels):
        voxels[3, 3, 5] = value
        return voxels

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    (
        (spoiled(np.nan), "A_1_t1.nii.gz holds NaN or infinite voxels"),
        (spoiled(np.inf), "A_1_t1.nii.gz holds NaN or infinite voxels"),
        (spoiled(-np.inf), "A_1_t1.nii.gz holds NaN or infinite voxels"),
        (lambda voxels: voxels * 0, "A_1_t1.nii.gz is constant"),
        (lambda voxels: voxels * 0 + 7, "A_1_t1.nii.gz is constant"),
        (lambda voxels: (voxels > 0).astype(np.float32), "A_1_t1.nii.gz is constant"),
        (lambda voxels: np.stack((voxels, voxels), axis=-1), "A_1_t1.nii.gz has 4 dimensions, wanted 3"),
        (lambda voxels: voxels[:, :, :-2], "A_1_t1.nii.gz is "),
    ),
)
def test_a_spoiled_sequence_is_named_with_its_file(write, tmp_path, change, said):
    with pytest.raises(UnusableStudy, match=said):
        read_study("A_1", write(tmp_path, "A_1", odd=change))


@pytest.mark.parametrize(("ending", "name"), (("t1", "T1"), ("t1ce", "T1c"), ("t2", "T2"), ("flair", "FLAIR")))
def test_a_folder_with_a_modality_missing_is_a_named_error_of_every_command(write, tmp_path, weights, ending, name, capsys):
    write(tmp_path / "studies", "A_1", skip=(ending,))
    with pytest.raises(SettingsFault, match=f"no study that could be evaluated; 1 skipped\n  A_1: missing {name}$"):
        called_on("evaluate", tmp_path / "studies", tmp_path, weights)
    for command, more in (("train", ()), ("ablate", ("--parts", "all"))):
        with pytest.raises(UnusableStudy, match="no usable study"):
            called_on(command, tmp_path / "studies", tmp_path, weights, *more)
        assert f"skipped: A_1: missing {name}\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "ablate", "train"])
def test_a_folder_without_studies_is_a_named_error(tmp_path, weights, command):
    more = ("--parts", "all") if command == "ablate" else ()
    with pytest.raises((SettingsFault, UnusableStudy), match=r"no (usable )?study"):
        called_on(command, tmp_path / "nowhere", tmp_path, weights, *more)


# --- no tumour --------------------------------------------------------------------------------


def without_tumour(place):
    """The study's segmentation is emptied."""
    import nibabel

    file = next(place.glob("*seg*"))
    image = nibabel.load(file)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), file)


def test_a_study_without_tumour_is_right_where_nothing_is_said(write, tmp_path, weights, as_it_is, capsys):
    without_tumour(write(tmp_path / "studies", "A_1"))
    assert called_on("evaluate", tmp_path / "studies", tmp_path, weights, "--predictions", tmp_path / "said") == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["mean"]["dice"] == {"WT": 1, "TC": 1, "ET": 1, "NCR": 1, "ED": 1}
    assert set(report["mean"]["hd95_mm"].values()) == {0} and report["studies"][0]["volume_ml"] == {"NCR": 0, "ED": 0, "ET": 0}
    assert report["mean"]["auroc_brain"]["WT"] is None, "without an error there is nothing to find"
    assert "n/a" in capsys.readouterr().out


def test_a_study_without_tumour_can_be_trained_on_alone_and_as_a_partner(write, tmp_path):
    without_tumour(write(tmp_path, "A_1"))
    write(tmp_path, "B_1")
    empty, full = load_studies(tmp_path, lambda line: None).values()
    augmenter = Augmenter(32)
    for n in range(12):
        assert not augmenter.sample(empty, empty, (n,)).regions.any()
        assert torch.isfinite(augmenter.sample(full, empty, (n,)).image).all()


def test_a_folder_too_small_for_tuning_studies_still_leaves_weights(write, tmp_path):
    write(tmp_path / "studies", "A_1")
    small = SILENT.but(threshold=0.5)
    plan = Plan(steps=1, side=32, wide_side=32, synthetic=0, half=False)
    (tmp_path / "run").mkdir()
    Training(tmp_path / "studies", tmp_path / "run", plan, small, "cpu", None).run()
    _, recipe, _ = load_weights(tmp_path / "run" / "weights.safetensors")
    assert recipe.split["tune"] == () and recipe.training["reached"] == 1


# --- weights ----------------------------------------------------------------------------------


def rewritten(path, **changes):
    """The weights file with other words in its recipe."""
    tensors = {name: value.half() for name, value in build_network(SILENT).state_dict().items()}
    content = json.loads(SILENT.to_json()) | changes
    save_file(tensors, path, metadata={"recipe": json.dumps(content)})


@pytest.mark.parametrize("command", ["evaluate", "ablate", "train"])
@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"format": 99}, "another version"),
        ({"filter": "wavelet"}, "filter 'wavelet'"),
        ({"sampler": "euler"}, "sampler 'euler'"),
        ({"later": 1}, "newer version"),
        ({"channels": ["T1c", "T1", "T2", "FLAIR"]}, "channels are T1c, T1, T2, FLAIR"),
        ({"channels": ["T1", "T1c", "T2"]}, "channels are T1, T1c, T2;"),
        ({"condition": 4}, "do not fit"),
    ),
)
def test_weights_that_this_version_cannot_use_are_refused_by_every_command(write, tmp_path, command, changes, said):
    write(tmp_path / "studies", "A_1")
    rewritten(tmp_path / "odd.safetensors", **changes)
    with pytest.raises(WeightsFault, match=said):
        called_on(command, tmp_path / "studies", tmp_path, tmp_path / "odd.safetensors")


@pytest.mark.parametrize("command", ["evaluate", "ablate", "train"])
def test_damaged_weights_are_refused_by_every_command(write, tmp_path, weights, command):
    write(tmp_path / "studies", "A_1")
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(WeightsFault, match="damaged"):
        called_on(command, tmp_path / "studies", tmp_path, weights)


# --- options ----------------------------------------------------------------------------------


def test_a_patch_that_does_not_fit_the_grid_is_a_named_error(write, tmp_path, weights):
    write(tmp_path / "studies", "A_1")
    with pytest.raises(SettingsFault, match="multiples of 16"):
        called_on("train", tmp_path / "studies", tmp_path, weights, "--side", 40)


def test_a_part_that_the_weights_do_not_have_is_a_named_error(write, tmp_path, weights):
    write(tmp_path / "studies", "A_1")
    with pytest.raises(SettingsFault, match="no part 'test'"):
        called_on("evaluate", tmp_path / "studies", tmp_path, weights, "--part", "test")


# --- progress ---------------------------------------------------------------------------------


def test_evaluation_says_how_far_it_is_and_at_the_end_what_it_skipped(write, tmp_path, weights, as_it_is, capsys):
    for name in ("A_1", "C_1"):
        write(tmp_path / "studies", name)
    write(tmp_path / "studies", "B_1", odd=spoiled(np.nan))
    (write(tmp_path / "studies", "D_1") / "D_1_t2.nii.gz").write_bytes(b"\x1f\x8b not an image")
    assert called_on("evaluate", tmp_path / "studies", tmp_path, weights) == 0
    printed = capsys.readouterr()
    assert all(f"{n}/4, " in printed.err for n in (1, 2, 3, 4)) and "0 s left  skipped D_1" in printed.err
    first, second = printed.out.splitlines()[-2:]
    assert first.startswith("skipped B_1: B_1_t1.nii.gz holds NaN") and second.startswith("skipped D_1_t2.nii.gz cannot be read")
    assert "2 studies, 2 skipped" in printed.out
    assert len(json.loads((tmp_path / "out.json").read_text())["skipped"]) == 2
