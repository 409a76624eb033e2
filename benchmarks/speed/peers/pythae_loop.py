"""Times epochs of pythae's trainer on a file of images and prints the seconds of each epoch.

``make speed`` runs this file with the interpreter of pythae's environment (``make peers``). The suite does not import
it.
"""

import logging
import sys
import tempfile
import time

import numpy as np
import torch
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig

BATCH, LATENT = 100, 16


def main(path: str, threads: int) -> None:
    """Train on the uint8 images (n, 1, 28, 28) in the file ``path``, scaled to [0, 1], in memory.

    Everything else is pythae's default: a 784-512-16 MLP, Adam, fp32.
    """
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(threads)
    images = torch.from_numpy(np.load(path)).float() / 255
    # All loops are timed in turn. Each line of stdin requests one epoch of this loop.
    for _ in sys.stdin:
        torch.manual_seed(0)
        model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH)
            trainer = BaseTrainer(model, train_dataset=_dataset(images), training_config=config)
            trainer.prepare_training()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            started = time.perf_counter()
            # One epoch of training steps, without the checkpoints and the logging of a complete run.
            trainer.train_step(epoch=1)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            print(time.perf_counter() - started, flush=True)


def _dataset(images: torch.Tensor) -> object:
    from pythae.data.datasets import BaseDataset

    return BaseDataset(images, torch.zeros(len(images)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
