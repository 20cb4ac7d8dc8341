"""Instances become stacks: what belongs together, and what of it never serves."""

from __future__ import annotations

import numpy as np
import pytest

from cmdiff_dicom.assemble import choose_stacks
from cmdiff_dicom.assemble.series import split_into_stacks
from cmdiff_dicom.errors import EnhancedNotSupported
from cmdiff_dicom.records import Sequence
from tests.support.received import merged, noise, only, received, series, stacks_of


def test_two_echoes_of_one_series_are_two_stacks():
    assert [len(stack.instances) for stack in stacks_of(*merged(series(), series(EchoTime=20)))] == [10, 10]


def test_three_planes_of_one_series_are_three_stacks():
    datasets = series()
    for n, data_set in enumerate(datasets):
        data_set.ImageOrientationPatient = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]][n % 3]
    assert sorted(len(stack.instances) for stack in stacks_of(datasets)) == [3, 3, 4]


@pytest.mark.parametrize("attribute", ["Rows", "PixelSpacing", "ImageType"])
def test_matrix_spacing_and_image_type_separate_stacks(attribute):
    datasets = series()
    for data_set in datasets[5:]:
        setattr(data_set, attribute, {"Rows": 21, "PixelSpacing": [1.2, 0.95], "ImageType": ["ORIGINAL", "PRIMARY", "P"]}[attribute])
    assert [len(stack.instances) for stack in stacks_of(datasets)] == [5, 5]


@pytest.mark.parametrize("slip", ["ImageType", "FrameOfReferenceUID"])
def test_a_mark_of_a_correction_or_a_frame_of_reference_that_some_slices_lack_is_no_border(slip):
    datasets = series()
    for data_set in datasets[::3]:
        setattr(data_set, slip, {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], "FrameOfReferenceUID": ""}[slip])
    stack = only(datasets)
    assert (len(stack.instances), stack.fault) == (10, "")


def test_an_image_and_its_corrected_copy_in_one_series_stay_two_stacks():
    copies = merged(*(series(ImageType=["ORIGINAL", "PRIMARY", "M", mark]) for mark in ("ND", "DIS2D")))
    assert [len(stack.instances) for stack in stacks_of(*copies)] == [10, 10]


def test_orientation_that_jitters_in_the_last_digits_stays_one_stack():
    datasets = series()
    for n, data_set in enumerate(datasets):
        data_set.ImageOrientationPatient = [round(float(c) + 1e-6 * (n % 2), 7) for c in data_set.ImageOrientationPatient]
    assert not only(datasets).fault


def test_pixel_spacing_that_jitters_in_the_last_digits_stays_one_stack():
    datasets = series()
    for n, data_set in enumerate(datasets):
        data_set.PixelSpacing = [["0.9375", "0.9375"], ["0.93749999", "0.937500001"]][n % 2]
    assert not only(datasets).fault


def test_series_are_told_apart_by_their_uid_alone():
    first, second = series(number=1, SeriesNumber=None), series(number=2, SeriesNumber=None, volume=noise(seed=9))
    for one, other in zip(first, second, strict=True):
        other.InstanceNumber, other.AcquisitionTime = one.InstanceNumber, one.AcquisitionTime
    assert [len(stack.instances) for stack in stacks_of(first, second)] == [10, 10]


def test_two_acquisitions_at_the_same_positions_become_two_stacks():
    stacks = stacks_of(*merged(*(series(Sequence.T1N, AcquisitionNumber=n) for n in (1, 2))))
    assert [len(stack.instances) for stack in stacks] == [10, 10]
    assert {len({i.acquisition.acquisition_number for i in stack.instances}) for stack in stacks} == {1}
    assert not any(stack.fault for stack in stacks)


def test_acquisition_numbers_that_count_slices_split_nothing():
    datasets = series()
    for n, data_set in enumerate(datasets):
        data_set.AcquisitionNumber = 1 + n % 2
    assert len(only(datasets).instances) == 10


def test_repeated_positions_that_nothing_tells_apart_are_refused():
    assert only(*merged(series(), series(volume=noise(seed=8)))).fault.startswith("repeated positions: 10")


def test_series_that_came_under_one_uid_are_told_apart_by_agent_inversion_and_description():
    study = merged(series(Sequence.T1N), series(Sequence.T1C), series(Sequence.T2W, EchoTime=99), series(Sequence.T2F, EchoTime=99))
    assert set(choose_stacks(received(*study).instances).stacks) == set(Sequence)


def test_many_inversion_times_of_one_series_never_serve():
    assert "repeated positions" in only(*merged(*(series(Sequence.T2F, InversionTime=ti) for ti in (1500, 2000, 2500)))).fault


def test_many_time_points_never_serve():
    stacks = stacks_of(*merged(*(series(Sequence.T1N, TemporalPositionIdentifier=t + 1) for t in range(5))))
    assert len(stacks) == 5
    assert all(stack.fault == "one of 5 time points" for stack in stacks)


def test_many_spin_echoes_are_the_source_of_a_map():
    stacks = stacks_of(*merged(*(series(Sequence.T2W, EchoTime=te) for te in (20, 60, 100))))
    assert ["source of a T2 map" in stack.fault for stack in stacks] == [True] * 3


def test_a_repeated_instance_with_the_same_bytes_counts_once():
    datasets = series()
    stacks, notes = split_into_stacks(received(datasets, datasets[3:5]).instances, 8)
    assert len(stacks[0].instances) == 10
    assert not stacks[0].fault
    assert not notes


def test_of_one_instance_with_two_byte_streams_the_first_serves_and_it_is_said():
    datasets, altered = series(), series(StudyDescription="changed")[4:5]
    stacks, notes = split_into_stacks(received(datasets, altered).instances, 8)
    assert len(stacks[0].instances) == 10
    assert stacks[0].instances[4].blob == received(datasets).instances[4].blob
    assert "came again with other bytes" in notes[0]


@pytest.mark.parametrize("is_whole_first", [False, True])
def test_of_one_instance_that_came_cut_short_and_whole_the_whole_one_serves(is_whole_first):
    datasets, cut = series(), series()[4:5]
    cut[0].PixelData = cut[0].PixelData[:200]
    whole = datasets[4:5]
    order = (datasets, cut) if is_whole_first else (datasets[:4], cut, datasets[5:], whole)
    everything = received(*order)
    stacks, notes = split_into_stacks(everything.instances, 8)
    assert stacks[0].instances[4].blob == received(whole).instances[0].blob
    assert "came again with other bytes" in notes[0]


def test_one_sop_uid_in_two_series_costs_neither_a_slice():
    first, second = series(Sequence.T1N), series(Sequence.T2W)
    second[4].SOPInstanceUID = first[4].SOPInstanceUID
    stacks, notes = split_into_stacks(received(first, second).instances, 8)
    assert [len(stack.instances) for stack in stacks] == [10, 10]
    assert not any(stack.fault for stack in stacks)
    assert "stand in two series" in notes[0]


@pytest.mark.parametrize("attribute", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_images_without_a_place_are_kept_apart_and_named(attribute):
    assert "missing or unusable" in only(series(**{attribute: None})).fault


def test_enhanced_mr_is_named_and_never_serves():
    choice = choose_stacks(received(series(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1")).instances)
    assert isinstance(choice.refusal, EnhancedNotSupported)
    assert not choice.stacks


def test_the_outcome_does_not_depend_on_the_order_of_arrival():
    instances = received(series(Sequence.T1N), series(Sequence.T2W), series(Sequence.T2F)).instances
    shuffled = [instances[n] for n in np.random.default_rng(3).permutation(len(instances))]
    assert split_into_stacks(instances, 8) == split_into_stacks(shuffled, 8)
