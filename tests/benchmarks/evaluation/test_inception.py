"""pytorch-fid's Inception: the whole computation with substitute weights, and the behaviour without weights."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid.inception import InceptionV3
from torchvision.transforms.functional import to_tensor

from benchmarks.evaluation.features import inception
from benchmarks.evaluation.features.inception import WEIGHTS_VARIABLE, Inception, WeightsUnavailableError, weights_path
from benchmarks.evaluation.features.spaces import inception_space

from ..cells import CPU, digits


def test_without_weights_the_reason_is_plain_and_the_log_names_what_was_tried(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)

    def refused(url, path, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(inception, "download_url_to_file", refused)
    with pytest.raises(WeightsUnavailableError) as reason:
        weights_path()
    assert str(reason.value) == (
        "Inception's weights could not be downloaded; set VAE_INCEPTION_WEIGHTS to a local file"
    )
    assert re.search(r"from https://\S+/pt_inception-2015-12-05-6726825d\.pth to .*: no route to host", caplog.text)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "mine.pth"))
    with pytest.raises(WeightsUnavailableError, match=r"mine\.pth is not a file"):
        weights_path()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Save random weights of the right architecture where torch's cache would hold the real ones."""
    from pytorch_fid import inception as theirs
    from torchvision.models import inception_v3

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    network.Mixed_5b = theirs.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = theirs.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = theirs.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = theirs.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = theirs.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = theirs.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = theirs.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = theirs.FIDInceptionE_1(1280)
    network.Mixed_7c = theirs.FIDInceptionE_2(2048)
    path = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_features_are_those_of_pytorch_fid_from_image_files(stand_in, tmp_path, monkeypatch):
    ours = Inception(weights_path())
    monkeypatch.setattr("pytorch_fid.inception.load_state_dict_from_url", lambda *a, **k: torch.load(stand_in))
    theirs = InceptionV3([3]).eval()
    pixels = np.random.RandomState(0).randint(0, 256, (2, 28, 28), dtype=np.uint8)
    files = []
    for i, image in enumerate(pixels):
        Image.fromarray(image).convert("RGB").save(tmp_path / f"{i}.png")
        files.append(to_tensor(Image.open(tmp_path / f"{i}.png")))
    with torch.no_grad():
        expected = theirs(torch.stack(files))[0].flatten(1)
    found = ours(torch.from_numpy(pixels).unsqueeze(1).float() / 255)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_the_whole_path_from_images_to_a_distance(stand_in, tmp_path, monkeypatch):
    import dataclasses

    data = digits()
    few = dataclasses.replace(data.test, images=data.test.images[:12], labels=data.test.labels[:12])
    small = dataclasses.replace(data, test=few)
    space = inception_space(small, tmp_path / "cache", CPU, 4)
    features = space(small.test.images.float() / 255)
    assert features.shape == (12, 2048)
    assert space.distance(features) == pytest.approx(0, abs=1e-3)
    assert space.facts["inception_weights_sha256"] == Inception(stand_in).digest
