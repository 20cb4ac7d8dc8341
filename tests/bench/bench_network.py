"""Speed of the network against its peers, as ratios of medians in one process. Not collected by pytest.

    python tests/bench/bench_network.py [--threads 2] [--device cpu|cuda] [--rounds 3] [--json FILE]

A study is 4 x 240 x 240 x 155 voxels whose brain fills 144 x 176 x 144. Peers get the whole image, as their bundles do:
SegResNet in the faster of two memory layouts, nnU-Net's network (MONAI DynUNet, 32 to 320 channels) on one patch of 128^3
times the 18 patches that a whole image takes at half overlap, and the 8 that the cropped one takes.
"""

import argparse
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

BRAIN = (144, 176, 144)
WHOLE = (240, 240, 160)
PATCH = 128


def median_seconds(call, rounds, device):
    """Median of `rounds` calls after one to warm up."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def patches(shape):
    """How many patches nnU-Net lays over a volume at half overlap."""
    return math.prod(math.ceil(max(0, side - PATCH) / (PATCH // 2)) + 1 for side in shape)


def ours(device, rounds):
    from cmdiff_dicom.segment import load_segmenter
    from cmdiff_dicom.segment.inference import predict

    one = load_segmenter(None, device)
    image, everything = torch.randn(4, *BRAIN, device=device), torch.ones(4, dtype=torch.bool, device=device)
    recipe, single = one.recipe, one.recipe.but(steps=1, samples=1)
    seconds = {
        "default": median_seconds(lambda: predict(one.network, image, everything, recipe, one.half), rounds, device),
        "one step, one sample": median_seconds(
            lambda: predict(one.network, image, everything, single, one.half), rounds, device
        ),
        "default, float32": median_seconds(lambda: predict(one.network, image, everything, recipe, False), rounds, device),
    }
    return one, seconds


def whole_study(one, device, rounds):
    """Filter, standardisation and network on the device, from an image that lies in its memory."""
    from cmdiff_dicom.segment.inference import combine, predict
    from cmdiff_dicom.segment.segmenter import prepare_image

    image = torch.rand(4, *BRAIN, device=device) * 1000 + 1
    brain, everything = torch.ones(BRAIN, dtype=torch.bool, device=device), torch.ones(4, dtype=torch.bool, device=device)
    recipe = one.recipe.but(filter="adaptive")

    def call():
        values, present = prepare_image(image, everything, brain, recipe)
        combine(predict(one.network, values, present, recipe, one.half), recipe.direct_weight)

    return median_seconds(call, rounds, device)


def flops(one, device):
    """Multiply-adds of one default study times two, counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    from cmdiff_dicom.segment.inference import predict

    with FlopCounterMode(display=False) as counter:
        predict(
            one.network,
            torch.randn(4, *BRAIN, device=device),
            torch.ones(4, dtype=torch.bool, device=device),
            one.recipe,
            False,
        )
    return counter.get_total_flops()


def peers(device, half, rounds):
    from monai.networks.nets import DynUNet, SegResNet

    resnet = SegResNet(blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1], init_filters=16, in_channels=4, out_channels=3)
    unet = DynUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=3,
        kernel_size=[3] * 6,
        strides=[1, 2, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 5,
        filters=[32, 64, 128, 256, 320, 320],
        norm_name="instance",
    )
    seconds = {}
    for name, network, shape in (("SegResNet", resnet, WHOLE), ("nnU-Net patch", unet, (PATCH,) * 3)):
        best = math.inf
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            laid = network.eval().to(device).to(memory_format=layout)
            image = torch.randn(1, 4, *shape, device=device).to(memory_format=layout)
            with torch.inference_mode(), torch.autocast(device.split(":")[0], torch.bfloat16, enabled=half):
                best = min(best, median_seconds(lambda n=laid, x=image: n(x), rounds, device))
        seconds[name] = best
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    one, seconds = ours(device, arguments.rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated() / 1e9
    study = whole_study(one, device, arguments.rounds)
    work = flops(one, device)
    other = peers(device, one.half, arguments.rounds)
    default = seconds["default"]
    report = {
        "device": one.device_name,
        "threads": arguments.threads,
        "bfloat16": one.half,
        "seconds": seconds | other | {"filter, standardisation and network": study},
        "of SegResNet (at most 0.25)": default / other["SegResNet"],
        "of nnU-Net, whole image (at most 0.025)": default / (other["nnU-Net patch"] * patches((240, 240, 155))),
        "of nnU-Net, cropped image": default / (other["nnU-Net patch"] * patches(BRAIN)),
        "default over one step, one sample (at most 2.5)": default / seconds["one step, one sample"],
        "bfloat16 over float32": default / seconds["default, float32"],
        "peak memory GB": memory,
        "GFLOP a study": work / 1e9,
        "TFLOP/s": work / default / 1e12,
    }
    for name, value in report.items():
        sys.stdout.write(f"{name}: {value if not isinstance(value, float) else round(value, 4)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
