"""Reconstruction from a few principal components of the code, compared with PCA of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records.catalogue import TASKS, Family, Metric, register
from benchmarks.records.record import COMPRESSION_FILE

if TYPE_CHECKING:
    from benchmarks.evaluation.evaluate import Context, Evaluation

# Number of test images, and number of probe images on which principal components are fitted; the first ones are used.
IMAGES, FITTED = 2000, 5000
# Numbers of components that have a column in the table.
SIZES = (2, 8, 32)
NEEDS = ("continuous_latent", "no_condition", "training_images")


def compute(context: Context, result: Evaluation) -> None:
    from benchmarks.evaluation.evaluate import batched
    from benchmarks.evaluation.tasks.compression import code_errors, curve_table, dimensions, pca_errors

    variant, x, probe = context.variant, context.data.x[:IMAGES], context.data.probe[:FITTED]
    names = [name for k in SIZES for name in (f"compression_mse_{k}", f"compression_of_pca_{k}")]
    if not context.missing("discrete_latent"):
        result.not_applicable |= dict.fromkeys(names, "the latent vector also has a discrete variable")
        return
    codes, of_probe = (
        batched(lambda part, condition: variant.code(variant.posterior(part)), images, None) for images in (x, probe)
    )
    if not (codes.isfinite().all() and of_probe.isfinite().all()):
        result.not_applicable |= dict.fromkeys(names, "codes are not finite")
        return
    counts = dimensions(codes.shape[1])
    errors = code_errors(lambda z: batched(variant.image, z, None), codes, x, of_probe, counts)
    pca = pca_errors(x, probe, sorted({*counts, *SIZES}))
    few = f"{len(probe):,} training images have fewer principal components"
    for k in SIZES:
        if k > codes.shape[1]:
            reason = f"the code has {codes.shape[1]} numbers"
        else:
            reason = few if k >= len(probe) else f"a PCA loses nothing with {k} numbers"
        if k in errors:
            result.add(f"compression_mse_{k}", errors[k])
        else:
            result.not_applicable[f"compression_mse_{k}"] = reason
        if k in errors and pca.get(k):
            result.add(f"compression_of_pca_{k}", errors[k] / pca[k])
        else:
            result.not_applicable[f"compression_of_pca_{k}"] = reason
    result.tables[COMPRESSION_FILE] = curve_table(errors, pca)
    result.details["reference_compression"] = {f"compression_mse_{k}": pca[k] for k in SIZES if k in pca}


def _metrics(k: int) -> dict[str, Metric]:
    return {
        f"compression_mse_{k}": Metric(
            f"MSE, k = {k}", "per pixel", "lower",
            f"squared error per pixel channel of images decoded from the first k = {k} principal components of their "
            "codes", 4, needs=NEEDS,
        ),
        f"compression_of_pca_{k}": Metric(
            f"MSE / PCA's MSE, k = {k}", "ratio", "lower",
            f"squared error of images decoded from the first k = {k} principal components of their codes, divided by "
            f"that of a PCA of the images with {k} components; below 1, the code is better than PCA", 3,
            needs=NEEDS, summary=k == 8,
        ),
    }  # fmt: skip


register(
    Family(
        name="compression",
        title="Compression",
        order=68,
        group=TASKS,
        compute=compute,
        headline=("compression_of_pca_8",),
        sentence=f"Test images, at most the first {IMAGES:,}, are decoded from k numbers each: their codes (posterior "
        "means), projected onto the first k principal components of the codes of training images. With all "
        "components, this is the ordinary reconstruction. The components with the largest variance are not always the "
        "most important ones for the decoder. For comparison, PCA is applied to the pixels; its images are not clipped "
        f"to [0, 1]. Both are fitted on the first {FITTED:,} of the training images that classifiers are fitted on. "
        "The numbers are not quantised.",
        reference="PCA of the images has a squared error per pixel channel of",
        metrics={name: metric for k in SIZES for name, metric in _metrics(k).items()},
    )
)
