"""What every metric in a record means: its label, unit, direction and the sentence that a report prints.

Imports nothing heavy: reports read it on machines without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """``better`` is the direction in which a larger number is read; None where neither is better."""

    label: str
    unit: str
    better: Literal["higher", "lower"] | None
    family: Literal["likelihood", "reconstruction", "sample_quality", "representation"]
    meaning: str
    decimals: int = 2
    # The standard error over images, where the record has one, stands under this name.
    standard_error: str | None = None
    # Whether it is measured in the features of the data set's own judge, see benchmarks/records/judged.py.
    judged: bool = False


CATALOGUE: dict[str, Metric] = {
    "elbo": Metric(
        "ELBO", "nats/image", "higher", "likelihood",
        "evidence lower bound, the mean over images and posterior samples of log p(x|z) + log p(z) - log q(z|x)",
        2, "elbo_se",
    ),
    "elbo_se": Metric("ELBO s.e.", "nats/image", None, "likelihood", "standard error of the ELBO over images"),
    "log_likelihood": Metric(
        "log p(x)", "nats/image", "higher", "likelihood",
        "importance-sampled lower bound on the log-likelihood, logsumexp over K posterior samples minus log K",
        2, "log_likelihood_se",
    ),
    "log_likelihood_se": Metric(
        "log p(x) s.e.", "nats/image", None, "likelihood", "standard error of log p(x) over images"
    ),
    "distortion": Metric(
        "distortion", "nats/image", "lower", "likelihood", "-E_q log p(x|z), the ELBO's reconstruction part"
    ),
    "kl": Metric("KL", "nats/image", None, "likelihood", "KL(q(z|x) ‖ p(z)), the ELBO's rate, by Monte Carlo"),
    "elbo_bits_per_dim": Metric(
        "ELBO", "bits/dim", "lower", "likelihood", "the negative ELBO in bits per pixel channel", 3
    ),
    "log_likelihood_bits_per_dim": Metric(
        "log p(x)", "bits/dim", "lower", "likelihood", "the negative log p(x) in bits per pixel channel", 3
    ),
    "active_units": Metric(
        "active units", "dimensions", None, "representation",
        "latent dimensions whose posterior mean varies over test images by more than 0.01 (Burda et al. 2016)", 0,
    ),
    "code_perplexity": Metric(
        "code perplexity", "values in use", None, "representation",
        "exponential of the entropy of a discrete latent variable's usage over test images, averaged over variables", 1,
    ),
    "category_accuracy": Metric(
        "category accuracy", "share", "higher", "representation",
        "share of test images whose discrete category is their class, under the best one-to-one assignment", 3,
    ),
    "mse": Metric(
        "MSE", "per pixel", "lower", "reconstruction",
        "squared error per pixel channel of the mean image decoded from the posterior mean", 4,
    ),
    "fid_features": Metric(
        "FID, own features", "distance", 'lower', "sample_quality", "Fréchet distance between generated and test images in the features of the data set's own classifier", 2, judged=True,
    ),
    "fid_inception": Metric(
        "FID, Inception", "distance", 'lower', "sample_quality", "Fréchet distance between generated and test images in pytorch-fid's Inception features", 2, None,
    ),
    "kid_features": Metric(
        "KID, own features", "distance", 'lower', "sample_quality", "kernel distance (unbiased, in blocks of 500) in the features of the data set's own classifier", 3, 'kid_features_se', judged=True,
    ),
    "kid_features_se": Metric(
        "KID s.e.", "distance", None, "sample_quality", "standard error of the KID over its blocks", 3, judged=True,
    ),
    "kid_inception": Metric(
        "KID, Inception", "distance", 'lower', "sample_quality", "kernel distance (unbiased, in blocks of 500) in Inception features", 4, 'kid_inception_se',
    ),
    "kid_inception_se": Metric(
        "KID s.e.", "distance", None, "sample_quality", "standard error of the KID over its blocks", 4, None,
    ),
    "precision": Metric(
        "precision", "share", 'higher', "sample_quality", "share of generated images inside the manifold of test images, in the classifier's features: fidelity (Kynkäänniemi et al. 2019)", 3, judged=True,
    ),
    "recall": Metric(
        "recall", "share", 'higher', "sample_quality", "share of test images inside the manifold of generated images: diversity (Kynkäänniemi et al. 2019)", 3, judged=True,
    ),
    "density": Metric(
        "density", "ratio", 'higher', "sample_quality", "how many test images' neighbourhoods hold a generated image, relative to chance: fidelity, robust to outliers (Naeem et al. 2020)", 3, judged=True,
    ),
    "coverage": Metric(
        "coverage", "share", 'higher', "sample_quality", "share of test images with a generated image in their neighbourhood: diversity (Naeem et al. 2020)", 3, judged=True,
    ),
    "fid_features_gmm": Metric(
        "FID, mixture sampler", "distance", 'lower', "sample_quality", "fid_features of images decoded from a mixture of 10 Gaussians fitted to training codes, in place of the prior", 2, judged=True,
    ),
    "reconstruction_fid_features": Metric(
        "reconstruction FID", "distance", 'lower', "sample_quality", "Fréchet distance between reconstructed and test images in the features of the data set's own classifier", 2, judged=True,
    ),
    "reconstruction_fid_inception": Metric(
        "reconstruction FID, Inception", "distance", 'lower', "sample_quality", "Fréchet distance between reconstructed and test images in Inception features", 2, None,
    ),
    "psnr": Metric(
        "PSNR", "dB", 'higher', "reconstruction", "peak signal-to-noise ratio of the reconstruction, averaged over images", 2, None,
    ),
    "ssim": Metric(
        "SSIM", "-1 to 1", 'higher', "reconstruction", "structural similarity of image and reconstruction (Wang et al. 2004)", 3, None,
    ),
    "ms_ssim": Metric(
        "MS-SSIM", "0 to 1", 'higher', "reconstruction", "multi-scale structural similarity, for images of 161 pixels a side or more", 3, None,
    ),
    "feature_distance": Metric(
        "feature distance", "root mean square", 'lower', "reconstruction", "distance between image and reconstruction in the features of the data set's own classifier", 3, judged=True,
    ),
    "knn_accuracy": Metric(
        "10-NN accuracy", "share", 'higher', "representation", "accuracy on test images of the vote of the 10 nearest training images in posterior means", 3, None,
    ),
    "linear_probe_accuracy": Metric(
        "linear probe", "share", 'higher', "representation", "accuracy on test images of a logistic regression trained on posterior means of training images", 3, None,
    ),
    "mutual_information": Metric(
        "I(x; z)", "nats", 'higher', "representation", "mutual information of image and latent vector by a minibatch estimate, which the log of the number of images bounds", 2, None,
    ),
    "aggregate_kl": Metric(
        "KL(q(z) ‖ p(z))", "nats", 'lower', "representation", "divergence of the aggregate posterior from the prior, by the same estimate", 2, None,
    ),
}  # fmt: skip
