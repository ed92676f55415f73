"""`prune` on networks that write, cast, share or return what others do not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch import prune

SHAPE = (3, 8, 8)
Step = Callable[["Odd", Tensor], Any]


class Odd(nn.Module):
    """Two convolutions and a linear layer, with a step of one's own before, between and behind them.

    Args:
        before: What images go through.
        between: What the first convolution's channels, (N, 8, H, W), go through.
        behind: What the features, (N, 12, H, W), go through; the mean and the linear layer where None.
        parts: Further modules, parameters and whatever else these steps use.
    """

    def __init__(
        self, before: Step | None = None, between: Step | None = None, behind: Step | None = None, **parts: Any
    ) -> None:
        super().__init__()
        self.steps = before, between, behind
        self.a, self.b, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.Linear(12, 5)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        before, between, behind = self.steps
        x = self.a(before(self, x) if before else x).relu()
        x = self.b(between(self, x) if between else x).relu()
        return behind(self, x) if behind else self.last(x.mean((2, 3)))


def images(number: int = 24) -> Tensor:
    return torch.rand(number, *SHAPE, generator=torch.Generator().manual_seed(0))


def halved(network: nn.Module, **settings: Any) -> Any:
    settings = settings or {"images": images()}
    return prune(network, 0.6, store="nowhere", **settings)


def tokens(network: Any, x: Tensor) -> Tensor:
    scores: Tensor = network.last(x.mean((2, 3), keepdim=True).flatten(2).mT + network.drop(network.query[None]))
    return scores.mean(1)


def test_views_of_parameters_reach_modules() -> None:
    network = Odd(behind=tokens, query=nn.Parameter(torch.rand(3, 12)), drop=nn.Dropout())
    small = halved(network)
    assert small.network(images(2)).shape == (2, 5)
    assert all(each.requires_grad for each in (*network.parameters(), *small.network.parameters()))
    network.query.requires_grad_(False)
    assert [n for n, each in halved(network).network.named_parameters() if not each.requires_grad] == ["query"]
