import numpy as np
import pytest
import torch

from pipelines import heads
from scatcache import ScatteringSpec


def count(model):
    return sum(weights.numel() for weights in model.parameters())


def test_resnet10_has_as_many_parameters_as_the_authors_has():
    assert count(heads.resnet10(ScatteringSpec(J=3).n_channels, 1000)) == 12_768_744


@pytest.mark.parametrize(
    ("build", "side", "inner"),
    [(heads.cifar_wrn, 8, 8), (heads.stl_wrn, 24, 12)],
    ids=["cifar", "stl"],
)
def test_wide_residual_networks_keep_the_maps_they_should(build, side, inner):
    spec = ScatteringSpec(J=2)
    model = build(spec.n_channels, 10, k=1).eval()
    shapes = []
    model[-3].register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    assert model(torch.rand(2, spec.n_channels, side, side)).shape == (2, 10)
    assert shapes == [(2, 64, inner, inner)]


def test_width_of_wide_residual_networks_goes_with_k():
    convolutions = [
        [module.out_channels for module in heads.cifar_wrn(243, 10, k=k).modules() if hasattr(module, "out_channels")]
        for k in (1, 3)
    ]
    assert convolutions[0][0] == 16 and max(convolutions[0]) == 64
    assert convolutions[1] == [3 * channels for channels in convolutions[0]]


def test_fully_connected_layers_are_three_of_the_width_asked():
    model = heads.fully_connected((243, 8, 8), 10, width=20)
    shapes = [tuple(module.weight.shape) for module in model if isinstance(module, torch.nn.Linear)]
    assert shapes == [(20, 243 * 64), (20, 20), (20, 20), (10, 20)]


def test_local_encoder_is_the_same_at_each_position():
    model = heads.SLE(15, 4, 3, width=8, hidden=5).eval()
    S = torch.rand(2, 15, 2, 2)
    whole = model.local(S)
    assert whole.shape == (2, 8, 2, 2)
    torch.testing.assert_close(model.local(S[:, :, :1, 1:]), whole[:, :, :1, 1:])
    assert model.encode(S).shape == (2, 5) and model(S).shape == (2, 3)


def test_local_encoder_is_read_back_from_its_weights(tmp_path):
    model = heads.SLE(15, 4, 3, width=8, hidden=5).eval()
    torch.save(model.state_dict(), tmp_path / "sle.pt")
    S = torch.rand(2, 15, 2, 2)
    assert torch.equal(heads.load_sle(tmp_path / "sle.pt").eval()(S), model(S))


def test_features_do_not_change_in_training():
    encoder = heads.SLE(15, 4, 3, width=8, hidden=5)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    model = torch.nn.Sequential(heads.Features(encoder), torch.nn.Linear(5, 2)).train()
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=1.0)
    model(torch.rand(4, 15, 2, 2)).sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_linear_classifier_standardises_square_roots_by_the_batches_seen(photos):
    model = heads.linear(photos.row_shape, 7)
    S = torch.from_numpy(photos.coefficients(slice(None)).astype(np.float32))
    for batch in S.split(16):
        model(batch)
    roots = S.clamp(min=0).sqrt()
    expected = torch.stack([batch.mean((0, 2, 3)) for batch in roots.split(16)]).mean(0)
    torch.testing.assert_close(model[1].running_mean, expected)
    normalised = model.eval()[:2](S)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(S.shape[1]), atol=1e-3, rtol=0)
    assert (model[3].weight == 0).all()
