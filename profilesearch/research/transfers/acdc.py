"""Alternating compressed and dense phases."""

from torch import nn

from profilesearch.research.transfers.masks import Masks
from profilesearch.research.transfers.upstream import Upstream

_WARM, _LAST = 0.1, 0.3
_PAIRS = 3


def acdc(upstream: Upstream, level: float) -> nn.Module:
    """Trains in phases (AC/DC, Peste et al. 2021, arXiv 2106.12379).

    A dense tenth comes first; then three times a compressed phase, in which the weights with the smallest magnitudes of
    the whole network are removed, and a dense one, in which they are back and start from zero; a compressed phase,
    the last three tenths, ends it. Momentum goes on through the phases, where the paper's code starts it anew.
    """
    model = upstream.first()
    masks = Masks(model)

    def hook(step: int, steps: int) -> None:
        now = compressed(step, steps)
        if step and now == compressed(step - 1, steps):
            return
        if now:
            masks.keep_best(masks.magnitudes(), level)
            masks.clear_removed()
        else:
            masks.keep_all()

    upstream.go_on(model, f"acdc-{level:g}", hook)
    if masks.finish(level):
        upstream.settle(model)
    return model


def compressed(step: int, steps: int) -> bool:
    """Says whether a step is in a compressed phase."""
    done = step / steps
    if done < _WARM or done >= 1 - _LAST:
        return done >= _WARM
    return int((done - _WARM) / (1 - _LAST - _WARM) * 2 * _PAIRS) % 2 == 0
