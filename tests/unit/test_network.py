"""The whole network: what comes out, what learns, and what stays as it is while other layers learn."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fashion_ray.errors import UserError
from fashion_ray.models import backbones
from fashion_ray.models.dropout import ByteDropout
from fashion_ray.models.network import (
    Geometry,
    LowerNetwork,
    Network,
    build_heads,
    count_parameters,
    freeze_below,
    head_code,
    parse_head,
    set_training,
    state_of,
)

GEOMETRY = Geometry(decoded_size=(40, 30), input_size=(64, 48))
CLASSES: dict[str, list[str | None]] = {
    "masterCategory": ["Apparel", "Footwear"],
    "articleType": ["Shirts", "Shoes", "Ties", None],
    "season": ["Summer", "Winter", "Fall"],
}


@pytest.fixture
def network() -> Network:
    """A small trunk of four blocks with batch norm, and three heads."""
    torch.manual_seed(0)
    trunk = backbones.skeleton("test_resnet")
    return Network(GEOMETRY, trunk, build_heads("batchnorm", trunk.spec.embedding_dim, CLASSES, 0.3)).eval()


def pixels(rows: int, seed: int = 0) -> Tensor:
    """Noise of the decoded size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, *GEOMETRY.decoded_size, 3), dtype=torch.uint8, generator=generator)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of batch norms."""
    return {key: value.clone() for key, value in module.state_dict().items() if "running_" in key}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The entries that differ."""
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def train_steps(network: Network, trainable: int, *, batchnorm_learns: bool, steps: int = 3) -> None:
    """A few plain steps of everything that may learn."""
    freeze_below(network, trainable)
    set_training(network, trainable, batchnorm_learns=batchnorm_learns)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(steps):
        _, *logits = network(pixels(8, step))
        loss = sum((nn.functional.cross_entropy(values, torch.arange(8) % 2) for values in logits), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_the_outputs_are_embeddings_and_then_logits_in_the_order_of_the_targets(network: Network) -> None:
    with torch.inference_mode():
        found = network(pixels(5))
        again = [head(found[0]) for head in network.heads.values()]
    assert network.targets == list(CLASSES)
    assert [tuple(output.shape) for output in found] == [(5, 96), (5, 2), (5, 4), (5, 3)]
    assert all(output.dtype == torch.float32 for output in found)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(again, found[1:], strict=True))


def test_the_outputs_stay_float32_under_autocast(network: Network) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = network(pixels(2))
    assert all(output.dtype == torch.float32 for output in found)


def test_the_order_of_the_heads_is_that_of_the_classes() -> None:
    reversed_classes = dict(reversed(CLASSES.items()))
    assert list(build_heads("linear", 8, reversed_classes, 0.0)) == list(reversed_classes)


@pytest.mark.parametrize("kind", ["linear", "batchnorm", "mlp:7:gelu", "mlp:50,20:relu"])
def test_every_kind_of_head_gives_a_logit_a_class(kind: str) -> None:
    heads = build_heads(kind, 8, CLASSES, 0.3)
    for target, head in heads.items():
        assert head.eval()(torch.randn(6, 8)).shape == (6, len(CLASSES[target]))


def test_dropout_is_as_asked_for() -> None:
    def share_dropped(dropout: float) -> float:
        head = build_heads("batchnorm", 4000, {"season": ["a", "b"]}, dropout)["season"]
        drops = [module for module in head.modules() if isinstance(module, nn.Dropout)]
        return float((drops[0].train()(torch.ones(1, 4000)) == 0).float().mean())

    assert share_dropped(0.0) == 0
    assert share_dropped(0.4) == pytest.approx(0.4, abs=0.05)


def test_an_unknown_head_is_a_user_error() -> None:
    with pytest.raises(UserError, match="--head: got 'mlp'"):
        build_heads("mlp", 8, CLASSES, 0.3)


def test_an_mlp_has_its_widths_its_activation_and_dropout_after_each() -> None:
    head = build_heads(head_code("mlp", (50, 20), "silu"), 8, CLASSES, 0.4)["season"]
    kinds = [nn.Linear, nn.SiLU, ByteDropout, nn.Linear, nn.SiLU, ByteDropout, nn.Linear]
    layers = list(head.children())
    assert [type(layer) for layer in layers] == kinds
    assert [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)] == [
        (8, 50), (50, 20), (20, 3),
    ]  # fmt: skip
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.4}


@pytest.mark.parametrize(
    ("kind", "widths", "activation", "code"),
    [("linear", (), "relu", "linear"), ("batchnorm", (), "gelu", "batchnorm"), ("mlp", (50, 20), "tanh", "mlp:50,20:tanh")],
)
def test_heads_have_a_code_that_says_all_of_them(kind: str, widths: tuple[int, ...], activation: str, code: str) -> None:
    assert head_code(kind, widths, activation) == code
    assert parse_head(code) == (kind, widths, activation if kind == "mlp" else "")


@pytest.mark.parametrize("code", ["", "mlp", "mlp:", "mlp::relu", "mlp:0:relu", "mlp:99999:relu", "mlp:5:sine", "mlp:5,:relu",
                                  "mlp:-5:relu", "mlp:1,1,1,1,1,1,1,1,1:relu", "linear:5:relu"])  # fmt: skip
def test_a_code_that_says_no_head_is_a_user_error(code: str) -> None:
    with pytest.raises(UserError, match=r"--head: got .* such as mlp:50,20:relu"):
        build_heads(code, 8, CLASSES, 0.3)


@pytest.mark.parametrize("trainable", [0, 1, 2, 4])
def test_only_heads_and_the_last_blocks_may_learn(network: Network, trainable: int) -> None:
    groups = freeze_below(network, trainable)
    closed = network.trunk.blocks[: len(network.trunk.blocks) - trainable]
    opened = network.trunk.blocks[len(network.trunk.blocks) - trainable :]
    assert not any(parameter.requires_grad for block in closed for parameter in block.parameters())
    assert all(parameter.requires_grad for block in opened for parameter in block.parameters())
    assert all(parameter.requires_grad for parameter in network.heads.parameters())
    # Heads first, then from the output downwards.
    expected = [network.heads, *reversed(list(opened))]
    assert [[id(p) for p in group] for group in groups] == [[id(p) for p in part.parameters()] for part in expected]


def test_closing_blocks_again_closes_them(network: Network) -> None:
    freeze_below(network, 4)
    freeze_below(network, 0)
    assert not any(parameter.requires_grad for parameter in network.trunk.parameters())


@pytest.mark.parametrize("trainable", [0, 1, 2])
def test_frozen_blocks_do_not_move_and_the_rest_learns(network: Network, trainable: int) -> None:
    before = copy.deepcopy(network.state_dict())
    train_steps(network, trainable, batchnorm_learns=True)
    moved = changed(before, network.state_dict())
    kept = len(network.trunk.blocks) - trainable
    for number in range(len(network.trunk.blocks)):
        of_block = {key for key in moved if key.startswith(f"trunk.blocks.{number}.")}
        assert bool(of_block) == (number >= kept), of_block
        if number >= kept:
            assert any("running_mean" in key for key in of_block)
    for target in CLASSES:
        linear = [key for key in moved if key.startswith(f"heads.{target}.") and key.endswith("weight")]
        assert len(linear) == 2  # batch norm and linear


@pytest.mark.parametrize("trainable", [0, 1, 3])
def test_frozen_batch_norm_statistics_do_not_move_even_in_blocks_that_learn(network: Network, trainable: int) -> None:
    before, weights = statistics(network.trunk), copy.deepcopy(dict(network.trunk.named_parameters()))
    train_steps(network, trainable, batchnorm_learns=False)
    assert changed(before, statistics(network.trunk)) == set()
    after = dict(network.trunk.named_parameters())
    assert any(not torch.equal(weights[key], after[key]) for key in weights) == (trainable > 0)


def test_the_heads_own_batch_norm_always_learns(network: Network) -> None:
    before = statistics(network.heads)
    train_steps(network, 0, batchnorm_learns=False)
    assert changed(before, statistics(network.heads)) == set(before)


def test_blocks_that_do_not_train_are_in_evaluation_mode(network: Network) -> None:
    network.train()
    set_training(network, 1, batchnorm_learns=True)
    assert [block.training for block in network.trunk.blocks] == [False, False, False, True]
    assert not any(module.training for block in network.trunk.blocks[:3] for module in block.modules())


def test_counts_parameters_and_those_that_learn() -> None:
    layer = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    assert count_parameters(layer) == (20 + 10 + 12, 42)
    layer[0].weight.requires_grad_(False)
    assert count_parameters(layer) == (42, 27)


def test_the_count_follows_the_frozen_boundary(network: Network) -> None:
    freeze_below(network, 0)
    total, heads = count_parameters(network)
    assert heads == sum(2 * 96 + 96 * len(names) + len(names) for names in CLASSES.values())
    freeze_below(network, 4)
    assert count_parameters(network) == (total, total)


@pytest.mark.parametrize("trainable", [0, 1, 2, 3, 4])
def test_lower_network_and_upper_blocks_are_the_network(network: Network, trainable: int) -> None:
    with torch.inference_mode():
        embeddings, *logits = network(pixels(3))
        activations = LowerNetwork(network, trainable).eval()(pixels(3))
        upper = network.trunk.upper(activations, trainable)
        answers = network.answers(upper)
    assert activations.dtype == torch.float32
    assert activations.ndim == (2 if trainable == 0 else 4)
    assert torch.allclose(upper, embeddings, atol=1e-5)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(answers, logits, strict=True))


def test_the_state_is_whole_contiguous_and_apart(network: Network) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = state_of(network)
    assert state.keys() == network.state_dict().keys()
    assert all(value.is_contiguous() and value.device.type == "cpu" and not value.requires_grad for value in state.values())
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
