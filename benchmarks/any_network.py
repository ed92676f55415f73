"""Does `prune` work on networks that none of us made, and how long does it take?

Prunes every convolutional classifier of torchvision, small networks of timm's modules, and two networks of torchvision
that return more than scores, each with random weights, to half of the multiply-adds, in one call of `prune`. A row
says how many seconds of the processor that took, what is left, which profile was taken, and by how much the network
pruned to random widths differs from the masked one, relative to its largest output, in double precision. Some need
20 GB.

    python benchmarks/any_network.py --out rows.csv [NAME ...]
"""

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models

from profilesearch import prune
from profilesearch.errors import UsageError
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import probe
from profilesearch.networks.surgery import pruning_error

TIMM = (
    "tf_efficientnet_lite0", "hardcorenas_a", "ghostnet_100", "repvgg_a0", "dla34", "selecsls42b", "resnest14d",
    "hrnet_w18_small", "cspresnet50", "rexnet_100", "res2net50_26w_4s", "skresnet18", "darknet53", "tinynet_a",
    "nf_resnet50", "vovnet39a", "mixnet_s", "mambaout_femto", "fasternet_t0", "inception_next_atto", "shvit_s1",
    "starnet_s050", "mobileone_s1", "edgenext_xx_small", "convnextv2_atto", "halonet_h1", "coat_tiny",
    "convmixer_768_32", "cpubone_nano", "csatv2", "cs3darknet_focus_s", "cspnext_tiny", "davit_tiny", "densenet121",
    "dla46x_c", "dpn48b", "efficientformer_l1", "efficientformerv2_s0", "efficientvim_m1", "efficientvit_b0",
    "efficientvit_m0", "fastvit_t8", "focalnet_tiny_srf", "gcvit_xxtiny",
    "hgnetv2_b0", "iformer_t", "inception_resnet_v2", "inception_v3", "inception_v4", "lcnetv2_small",
    "levit_128s", "lowformer_b0", "poolformerv2_s12", "mobilenetv3_small_050", "mobilevit_xxs", "mvitv2_tiny",
    "nest_tiny", "nextvit_small", "pit_ti_224", "pvt_v2_b0", "rdnet_tiny", "regnetx_002", "repghostnet_050",
    "repvit_m1", "res2next50", "resnetv2_18", "legacy_seresnet18", "sequencer2d_s", "swiftformer_xs",
    "tiny_vit_5m_224", "tresnet_m", "twins_svt_small", "visformer_tiny", "vitamin_small_224", "volo_d1_224",
    "test_byobnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_coatnet", "test_nfnet", "test_resnet",
    "ese_vovnet19b_slim_dw", "legacy_xception", "xception41p", "xcit_nano_12_p8_224",
)  # fmt: skip
"""The smallest of each of timm's modules, with three convolutions and less than 70 M parameters; and some others."""
COLUMNS = ("network", "scope", "groups", "seconds", "macs", "params", "profile", "error", "reason")


def main() -> None:
    """Measures the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="some of them alone")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    there = {row["network"] for row in csv.DictReader(options.out.open())} if options.out.is_file() else set()
    with options.out.open("a", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if not there:
            rows.writeheader()
        for name, builder in _networks().items():
            if name not in there and (not options.names or name in options.names):
                torch.manual_seed(0)
                network = builder()
                own = getattr(network, "default_cfg", {})
                size = own["input_size"][-1] if own.get("fixed_input_size") else options.image_size
                row = {"network": name, **_measure(network, (3, size, size))}
                rows.writerow(row)
                file.flush()
                print(*row.values(), sep="  ", flush=True)


def _networks() -> dict[str, Callable[[], nn.Module]]:
    classifiers = models.list_models(module=models)
    transformers = ("vit", "swin", "maxvit")
    found: dict[str, Callable[[], nn.Module]] = {
        name: partial(models.get_model, name, weights=None) for name in classifiers if not name.startswith(transformers)
    }
    found |= {f"timm:{name}": partial(timm.create_model, name) for name in TIMM}
    found["fcn_resnet50"] = partial(models.get_model, "fcn_resnet50", weights=None, weights_backbone=None)
    found["fasterrcnn_mobilenet_v3_large_fpn, its backbone"] = _detectors_backbone
    return found


def _detectors_backbone() -> nn.Module:
    detector = models.get_model("fasterrcnn_mobilenet_v3_large_fpn", weights=None, weights_backbone=None)
    backbone: nn.Module = detector.backbone
    return backbone


def _measure(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, Any]:
    start = time.process_time()
    try:
        small = prune(network.eval(), 0.5, shape)
    except UsageError as error:
        return {"seconds": f"{time.process_time() - start:.1f}", "reason": str(error)}
    seconds = time.process_time() - start
    plan = Plan("any", network, shape)
    double, images = probe(plan.network, plan.example)
    groups = plan.table.within(small.profile.scope).groups
    return {
        "scope": small.profile.scope,
        "groups": len(groups),
        "seconds": f"{seconds:.1f}",
        "macs": f"{small.macs[1] / small.macs[0]:.4f}",
        "params": f"{small.params[1] / small.params[0]:.4f}",
        "profile": Path(small.source).name,
        "error": f"{pruning_error(double, groups, images, 1):.0e}",
    }


if __name__ == "__main__":
    main()
