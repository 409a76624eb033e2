"""How much of the noise in an image a model removes by encoding and decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# The number of test images; the first ones are used.
IMAGES = 2000
NEEDS = ("no_condition",)


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.evaluate import batched
    from benchmarks.evaluation.reconstruction import psnr
    from benchmarks.evaluation.tasks.denoising import NOISES, SMALLEST_ERROR, corrupted, psnr_gain

    clean = context.data.x[:IMAGES]
    before = {}
    for name in NOISES:
        noisy = corrupted(clean, name)
        result.add(name, psnr_gain(clean, noisy, batched(context.variant.reconstruct, noisy, None)))
        before[name] = psnr(clean, noisy, SMALLEST_ERROR)
    result.details["reference_denoising"] = before


def _gain(label: str, noise: str, summary: bool = False) -> Metric:
    meaning = f"PSNR of the reconstruction minus that of the corrupted image, both against the clean one: {noise}"
    return Metric(label, "dB", "higher", meaning, needs=NEEDS, summary=summary)


register(
    Family(
        name="denoising",
        title="Denoising",
        order=66,
        group=TASKS,
        compute=compute,
        headline=("denoising_gaussian_50",),
        sentence=f"Test images, at most the first {IMAGES:,}, are corrupted, encoded and decoded. The gain is the PSNR "
        "of the reconstruction minus the PSNR of the corrupted image, both against the clean image, averaged over "
        "images. A "
        "negative gain means that the corrupted image was closer to the clean one. The noise is the same for every "
        "variant and seed. A variant is trained on noise only if its own options say so, and rarely on one of these: "
        "with its default options, `denoising_ae` is trained on images with pixels set to 0, and a low rank here does "
        "not mean that it fails on those. Errors below half a grey level count as half a grey level.",
        reference="The corrupted images have a PSNR in dB of",
        metrics={
            "denoising_gaussian_20": _gain(
                "PSNR gain, Gaussian 0.2",
                "normal noise of standard deviation 0.2 in every pixel channel, clipped to [0, 1]",
            ),
            "denoising_gaussian_50": _gain(
                "PSNR gain, Gaussian 0.5",
                "normal noise of standard deviation 0.5 in every pixel channel, clipped to [0, 1]",
                summary=True,
            ),
            "denoising_salt_pepper_10": _gain(
                "PSNR gain, salt and pepper 10%",
                "10% of the pixels, drawn at random, set to black or white (equally likely) in all channels",
            ),
            "denoising_salt_pepper_30": _gain(
                "PSNR gain, salt and pepper 30%",
                "30% of the pixels, drawn at random, set to black or white (equally likely) in all channels",
            ),
        },
    )
)
