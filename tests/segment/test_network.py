"""The network: shapes, attention, and what runs how often."""

import pytest
import torch

from cmdiff_dicom.segment.inference import combine, predict
from cmdiff_dicom.segment.network import CMDiff, MultiScaleChannelAttention, depth_to_space, space_to_depth
from cmdiff_dicom.segment.weights import build_network
from tests.support.small_weights import SMALL

IMAGE = torch.randn(4, 30, 35, 32, generator=torch.Generator().manual_seed(0))
EVERYTHING = torch.ones(4, dtype=torch.bool)


def small(with_denoiser: bool = True) -> CMDiff:
    torch.manual_seed(0)
    return build_network(SMALL if with_denoiser else SMALL.but(network="direct-3d")).eval()


def test_folding_space_into_channels_loses_nothing():
    volume = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(volume)), volume)


def test_attention_is_the_identity_at_the_start():
    x = torch.randn(1, 16, 5, 6, 7)
    assert torch.equal(MultiScaleChannelAttention(16, (1, 2, 4))(x), x)


def wakened(scales: tuple[int, ...]) -> MultiScaleChannelAttention:
    torch.manual_seed(1)
    attention = MultiScaleChannelAttention(16, scales)
    for layer in attention.excite:
        torch.nn.init.normal_(layer.weight)
    return attention


def test_attention_never_more_than_doubles():
    x = torch.randn(1, 16, 5, 6, 7)
    assert bool((wakened((1, 2, 4))(x).abs() <= 2 * x.abs() + 1e-6).all())


def test_global_attention_is_constant_in_space_and_blind_to_the_order_of_voxels():
    x = torch.randn(1, 16, 4, 4, 4)
    attention = wakened((1,))
    gain = attention(x) / x
    assert torch.allclose(gain, gain[:, :, :1, :1, :1].expand_as(gain), atol=1e-4)
    order = torch.randperm(64)
    mixed = x.flatten(2)[:, :, order].reshape(x.shape)
    assert torch.allclose(attention(mixed), attention(x).flatten(2)[:, :, order].reshape(x.shape), atol=1e-5)


def test_the_encoder_runs_once_per_study_and_the_denoiser_once_per_step():
    network, calls = small(), {"encoder": 0, "denoiser": 0}
    network.encoder.register_forward_hook(lambda *_: calls.update(encoder=calls["encoder"] + 1))
    network.denoiser.register_forward_hook(lambda *_: calls.update(denoiser=calls["denoiser"] + 1))
    predict(network, IMAGE, EVERYTHING, SMALL.but(steps=3, samples=2), half=False)
    assert calls == {"encoder": 1, "denoiser": 3}


def test_any_shape_comes_back_in_its_own_shape():
    prediction = predict(small(), IMAGE, EVERYTHING, SMALL.but(steps=2, samples=3), half=False, all_steps=True)
    assert prediction.direct.shape == (3, 30, 35, 32)
    assert prediction.sampled.shape == (3, 2, 3, 30, 35, 32)


def test_the_same_study_gives_the_same_bits():
    once, again = (predict(small(), IMAGE, EVERYTHING, SMALL, half=False) for _ in range(2))
    assert torch.equal(once.sampled, again.sampled)


def test_one_sample_has_no_spread_and_full_direct_weight_ignores_the_samples():
    prediction = predict(small(), IMAGE, EVERYTHING, SMALL.but(samples=1), half=False)
    assert float(combine(prediction, 0.5)[1].max()) == 0
    assert torch.equal(combine(prediction, 1.0)[0], prediction.direct)


def test_the_control_answers_without_a_denoiser():
    prediction = predict(small(with_denoiser=False), IMAGE, EVERYTHING, SMALL.but(network="direct-3d"), half=False)
    assert prediction.sampled is None
    assert float(combine(prediction, 0.5)[1].max()) == 0


def test_the_time_shift_starts_as_the_identity():
    network = small()
    x_t, t = torch.randn(1, 3, 16, 16, 16), torch.tensor([1.0])
    with torch.inference_mode():
        guidance = network.encoder(torch.randn(1, 4, 32, 32, 32), torch.ones(1, 4))
        assert torch.equal(network.denoiser(x_t, guidance, t), network.denoiser(x_t, guidance, t * 0.3))


@pytest.mark.parametrize("half", (False, True))
def test_both_precisions_agree_roughly(half):
    reference = predict(small(), IMAGE, EVERYTHING, SMALL, half=False)
    assert float((predict(small(), IMAGE, EVERYTHING, SMALL, half=half).direct - reference.direct).abs().max()) < 0.03
