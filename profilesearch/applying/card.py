"""The result of `apply` as a model card: a README in the form that Hugging Face's hub reads."""

import json
from typing import Any

from profilesearch.applying.advice import loading
from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject
from profilesearch.errors import one_line
from profilesearch.networks.names import AS_CUT
from profilesearch.reporting.webpage import markdown_table
from profilesearch.tasks.data import DataSet


def model_card(settings: Applying, subject: Subject, report: dict[str, Any], command: str) -> str:
    """Returns the card of a result; its figures are those of the network as it was read back.

    Args:
        settings: What was asked.
        subject: The full network and its data.
        report: What the report's file says.
        command: That makes the result again.
    """
    data, before, after = subject.data, report["before"], report["after"]
    low, high = after["interval"]
    lines = [
        ["accuracy on test images", f"{before['accuracy']:.2%}", f"{after['accuracy']:.2%} ({low:.2%} to {high:.2%})"],
        *([name, f"{before[key]:,}", f"{after[key]:,}"] for name, key in _COUNTS),
    ]
    profile, recipe = report["profile"], report["evidence"].get("recipe", {})
    epochs = recipe.get("finetune", 0)
    tuned = (
        f"then fine-tuned for {epochs} epoch{'s' * (epochs > 1)} of the training images" if epochs else "not fine-tuned"
    )
    height, width = data.image_shape[1:]
    parts = [
        _front(settings, subject, report),
        f"# {one_line(settings.arch)}, pruned",
        f"{one_line(subject.member.name)} with smaller layers: {profile['budget']['reached']:.1%} of its "
        f"{_METRICS[profile['budget']['metric']]} are left. Its weights were cut, "
        f"{_mended(report['evidence']['refit'])}, and {tuned}.",
        markdown_table(("", "full", "pruned"), lines),
        f"The interval is of {report['evidence']['test_images']:,} test images, and knows nothing of other seeds.",
        "## Use",
        f"```python\n{loading(settings).replace('; ', chr(10))}\n```",
        f"It takes images (N, {subject.shape[0]}, {height}, {width}), {_input(data, subject.shape[0])}, "
        f"and returns scores of {data.num_classes} classes"
        f"{': ' + ', '.join(map(one_line, data.class_names)) if 0 < len(data.class_names) <= _NAMED else ''}.",
        "## Made by",
        f"```\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


_COUNTS = (("multiply-adds", "macs"), ("parameters", "params"), ("bytes of weights, single precision", "bytes"))
_METRICS = {"macs": "multiply-adds", "params": "parameters", "latency": "time"}
_NAMED = 100
"""Classes that are named at most."""


def _mended(refit: str) -> str:
    """Says what was done to the weights that are left."""
    if refit == AS_CUT:
        return "left as they were"
    return "given new BatchNorm statistics" if refit.startswith(("none", AS_CUT)) else "refitted in closed form"


def _front(settings: Applying, subject: Subject, report: dict[str, Any]) -> str:
    """Returns the block of metadata; JSON is YAML."""
    name = one_line(subject.data.name)
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": name, "type": name},
        "metrics": [{"type": "accuracy", "value": round(report["after"]["accuracy"], 4)}],
    }
    about = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["pruning", "channel-pruning", "profilesearch"],
        "model-index": [{"name": f"{one_line(settings.arch)}, pruned", "results": [result]}],
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in about.items()), "---"])


def _input(data: DataSet, channels: int) -> str:
    """Says how a network's images are normalized."""
    mean, std, luma = data.normalization(channels)
    grey = f", made grey with {' / '.join(map(str, luma))} for red, green and blue" if luma else ""
    return f"as fractions of one{' of colours' if luma else ''}, minus {_numbers(mean)}, over {_numbers(std)}{grey}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
