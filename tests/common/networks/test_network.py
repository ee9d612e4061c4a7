"""The network is the published one, its gradients are right, and combinations of slices cost one pass a slice."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.normalisation import groups
from common.study.networks import Normalisation

SMALL = Architecture(("t1", "t1v", "t1d"), 3, "group", width=8, blocks=1)


def small(kind: Normalisation = "group", seed: int = 1) -> MviNetwork:
    return build(Architecture(SMALL.sequences, 3, kind, width=8, blocks=1), seed)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("classes", "expected"), [(2, 2_213_058), (3, 2_214_595)])
def test_the_published_network_has_the_parameters_that_its_docstring_says(classes: int, expected: int) -> None:
    with torch.device("meta"):
        net = MviNetwork(Architecture(("t1", "t1v", "t1d"), classes, "batch"))
        shape = net.trunk.maps(torch.empty(2, 1, 320, 320)).shape
    stem = parameters(net.trunk.stem) + parameters(net.trunk.stem_norm)
    assert [stem, parameters(net.trunk.narrow), parameters(net.trunk.wide)] == [3_264, 427_008, 1_779_712]
    assert parameters(net) == expected == 2_209_984 + classes * (512 * 3 + 1)
    assert sum(b.numel() for n, b in net.named_buffers() if "running" in n) == 15_488
    assert tuple(shape) == (2, 512, 40, 40)


def test_groups_divide_the_channels_and_hold_sixteen_or_more() -> None:
    assert [groups(c) for c in (64, 256, 512, 48, 16, 8, 9, 34)] == [4, 16, 32, 3, 1, 1, 1, 2]
    assert all(c % groups(c) == 0 and c / groups(c) >= min(c, 16) for c in range(1, 600))


def test_the_same_seed_gives_the_same_weights_and_the_global_generator_does_not_move() -> None:
    before = torch.get_rng_state()
    one, same, other = small(seed=3), small(seed=3), small(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.trunk.stem.weight, other.trunk.stem.weight)


def test_training_begins_at_nearly_equal_probabilities() -> None:
    probabilities = small()(noise(4, 3, 64, 64)).detach().softmax(-1)
    assert float((probabilities - 1 / 3).abs().max()) < 0.05


@pytest.mark.parametrize("kind", ["group", "batch"])
def test_the_gradient_is_that_of_finite_differences(kind: Normalisation) -> None:
    net = small(kind).double()
    images, labels = noise(3, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2])
    weights = list(net.parameters())

    def loss() -> Tensor:
        return functional.cross_entropy(net(images), labels)

    gradients = torch.autograd.grad(loss(), weights)
    generator, step = torch.Generator().manual_seed(1), 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = torch.randn(weight.shape, dtype=torch.float64, generator=generator)
        direction /= direction.norm()
        with torch.no_grad():
            weight.add_(direction, alpha=step)
            above = loss()
            weight.sub_(direction, alpha=2 * step)
            below = loss()
            weight.add_(direction, alpha=step)
        expected = float((above - below) / (2 * step))
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("way", ["classify", "combine"])
def test_nine_passes_give_the_gradient_of_the_mean_loss_of_27_combinations(
    dtype: torch.dtype, tolerance: float, way: str
) -> None:
    net = small().to(dtype)
    n, k, s = 2, 3, 3
    slices, labels = noise(n, k, s, 32, 32, dtype=dtype), torch.tensor([0, 2])
    chosen = list(product(range(s), repeat=k))

    plain = torch.zeros((), dtype=dtype)
    for combination in chosen:
        images = torch.stack([slices[:, i, at] for i, at in enumerate(combination)], dim=1)
        plain = plain + functional.cross_entropy(net(images), labels) / len(chosen)
    expected = torch.autograd.grad(plain, list(net.parameters()))

    vectors = net.features(slices.reshape(n * k * s, 1, 32, 32)).reshape(n, k, s, -1)
    if way == "combine":
        logits = net.combine(vectors)
    else:
        at = torch.tensor(chosen)
        logits = net.classify(vectors[:, torch.arange(k), at])
    assert logits.shape == (n, s**k, 3)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(s**k))
    assert loss.item() == pytest.approx(plain.item(), rel=10 * tolerance)
    largest = max(float(e.abs().max()) for e in expected)
    for got, wanted in zip(torch.autograd.grad(loss, list(net.parameters())), expected, strict=True):
        assert float((got - wanted).abs().max()) <= tolerance * largest


def test_combinations_are_in_order_and_the_first_is_that_of_the_first_slices() -> None:
    net = small().double()
    vectors, present = noise(2, 3, 2, 64, dtype=torch.float64), torch.tensor([[True, True, True], [True, False, True]])
    logits = net.combine(vectors, present)
    for at, (a, b, c) in enumerate(product(range(2), repeat=3)):
        one = torch.stack([vectors[:, 0, a], vectors[:, 1, b], vectors[:, 2, c]], dim=1)
        torch.testing.assert_close(logits[:, at], net.classify(one, present))


@pytest.mark.parametrize("kind", ["group", "batch"])
def test_a_masked_branch_enters_as_zeros_whatever_its_image_is(kind: Normalisation) -> None:
    net = small(kind).eval()
    images, present = noise(2, 3, 32, 32), torch.tensor([[True, False, True], [True, True, True]])
    logits = net(images, present)
    changed = images.clone()
    changed[0, 1] = 100 * images[1, 1]
    assert torch.equal(net(changed, present), logits)
    vectors = torch.stack([net.features(images[:, i, None]) for i in range(3)], dim=1)
    vectors[0, 1] = 0
    torch.testing.assert_close(logits, net.classify(vectors))
