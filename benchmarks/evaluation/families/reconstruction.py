"""Differences between test images and their reconstructions, in pixels and in features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.records.catalogue import Family, Metric, register

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.evaluation.evaluate import Context, Evaluation


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.data.conditions import missing, scored
    from benchmarks.evaluation.reconstruction import feature_distance, ms_ssim, mse, psnr, ssim

    x, condition, reconstructions = context.data.x, context.data.condition, context.reconstructions
    hidden = None if scored(x, condition) == x[0].numel() else missing(x, condition)
    measures: dict[str, Callable[[Tensor, Tensor], float]] = {
        "mse": partial(mse, missing=hidden),
        "psnr": partial(psnr, missing=hidden),
        "ssim": ssim,
        "ms_ssim": ms_ssim,
    }
    for name, measure in measures.items():
        try:
            result.add(name, measure(x, reconstructions))
        except ValueError as error:
            result.not_applicable[name] = str(error)
    if context.missing("reconstructions"):
        return
    for name, space in context.spaces.items():
        result.add_distance(f"reconstruction_fid_{name}", space, context.reconstructed_features(name))
    if "features" in context.spaces:
        reference = context.spaces["features"].reference[: len(x)]
        result.add("feature_distance", feature_distance(reference, context.reconstructed_features("features")))


register(
    Family(
        name="reconstruction",
        title="Reconstruction",
        order=40,
        compute=compute,
        sentence="Reconstructions of test images, decoded from the mean of the posterior (the mode if it is discrete).",
        headline=("mse",),
        metrics={
            "mse": Metric(
                "MSE", "per pixel", "lower",
                "squared error per pixel channel of the mean image decoded from the posterior mean; for models that "
                "are given some of the pixels, over the other ones", 4,
                also_in={"likelihood": 4}, summary=True,
            ),
            "psnr": Metric(
                "PSNR", "dB", "higher",
                "peak signal-to-noise ratio of the reconstruction, averaged over images; for models that are given "
                "some of the pixels, over the other ones",
            ),
            "ssim": Metric(
                "SSIM", "-1 to 1", "higher",
                "structural similarity of image and reconstruction (Wang et al. 2004), with a Gaussian window of 11 "
                "pixels (for smaller images, the largest odd size that fits), without padding",
                3,
            ),
            "ms_ssim": Metric(
                "MS-SSIM", "0 to 1", "higher",
                "multi-scale structural similarity, for images of 176 pixels a side or more", 3,
            ),
            "feature_distance": Metric(
                "feature distance", "root mean square", "lower",
                "distance between image (in grey levels, also if the model sees binary pixels) and reconstruction, in "
                "features of a classifier of this data set", 3,
                needs=("features", "reconstructions"), judged=True,
            ),
            "reconstruction_fid_features": Metric(
                "reconstruction FID", "distance", "lower",
                "Fréchet distance between reconstructed and test images, in features of a classifier of this data set",
                needs=("features", "reconstructions"), judged=True,
            ),
            "reconstruction_fid_inception": Metric(
                "reconstruction FID, Inception", "distance", "lower",
                "Fréchet distance between reconstructed and test images in Inception features",
                needs=("inception", "reconstructions"), column=False,
            ),
        },
    )
)  # fmt: skip
