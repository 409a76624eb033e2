"""A training step that is captured once as a CUDA graph and then replayed."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.config import TrainingConfig
from benchmarks.data import DatasetConfig
from benchmarks.training.steps.eager import Step, name_of
from variants import Variant

log = logging.getLogger(__name__)

# Number of eager steps before the capture. They create the optimiser's state and let libraries choose their kernels.
WARM_UP = 3
# Parts of torch's warnings: about an operation that waits for the device, and about the debug mode that detects it.
_WAITS, _WATCHING = "called a synchronizing CUDA operation", "Synchronization debug mode is a prototype feature"


class Graph(Protocol):
    """Captures the work of a function on the device and replays it."""

    def capture(self, work: Callable[[], None]) -> None: ...

    def replay(self) -> None: ...


class CUDAGraph:
    """A CUDA graph. Every replay draws new random numbers from the current state of the generator."""

    def __init__(self, stream: torch.cuda.Stream | None) -> None:
        self.graph, self.stream = torch.cuda.CUDAGraph(), stream

    def capture(self, work: Callable[[], None]) -> None:
        # The default stream of torch.cuda.graph belongs to the first GPU of the process.
        with torch.cuda.graph(self.graph, stream=self.stream):
            work()

    def replay(self) -> None:
        self.graph.replay()


class CapturedStep(Step):
    """The eager step including the optimisers, captured once and replayed: one launch instead of a few hundred.

    The inputs that change with every step (rows, progress and learning rates) are copied into tensors with fixed
    addresses. A smaller last batch of an epoch runs eagerly. All steps are eager if the variant reads a value from the
    device, which cannot be captured; ``refusal`` then says why.
    """

    captured = True

    def __init__(
        self,
        variant: Variant,
        images: Tensor,
        dataset: DatasetConfig,
        config: TrainingConfig,
        device: torch.device,
        labels: Tensor | None = None,
        graph: Callable[[torch.cuda.Stream | None], Graph] = CUDAGraph,
    ) -> None:
        super().__init__(variant, images, dataset, config, device, labels)
        self._new_graph = graph
        self._graph: Graph | None = None
        self._warm = 0
        self._rows = torch.zeros(min(config.batch_size, len(images)), dtype=torch.long, device=device)
        self._progress = torch.zeros((), device=device)
        self._device_rates = {name: torch.zeros((), device=device) for name in self.groups}
        self._learning: dict[str, Tensor] = {}
        self._sums = torch.empty(0)
        self._replayed = 0
        # The warm-up for a capture must not run on the default stream. Eager steps and the capture share one stream,
        # because the memory allocator has a pool for each stream.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, rows: Tensor, progress: Tensor, factor: float, done: float) -> None:
        self._progress.copy_(progress)
        rates = self._rates(factor, done)
        for name, rate in rates.items():
            self._device_rates[name].fill_(rate)
        if rates.keys() != self._learning.keys():
            # The old graph also updates groups that no longer learn.
            self._learning, self._graph = {name: self._device_rates[name] for name in rates}, None
        whole = len(rows) == len(self._rows)
        if whole and self._warm == WARM_UP and not self.refusal:
            self._rows.copy_(rows)
            if self._graph is None:
                self._capture()
        if whole and self._graph is not None:
            self._graph.replay()
            self._replayed += 1
            return
        warming = whole and self._warm < WARM_UP
        self._warm += warming
        with _on(self._stream), _waits(self.device, watched=warming and self._warm == WARM_UP) as waits:
            self._gather(self._run(rows, self._progress, self._learning), len(rows))
        if waits:
            self._refuse("its step waits for the GPU")

    def _capture(self) -> None:
        """Capture the step, or store the reason for a failure in ``refusal``."""
        if not self._replayed:
            self._sums = self._values.new_zeros(len(self._names))
        graph = self._new_graph(self._stream)
        try:
            graph.capture(self._work)
        except RuntimeError as error:
            self._refuse(str(error).split("\n", 1)[0])
        else:
            self._graph = graph

    def _refuse(self, why: str) -> None:
        self.refusal = f"{name_of(self.variant)} trains without a CUDA graph: {why}"
        log.warning("%s", self.refusal)

    def means(self) -> dict[str, float]:
        images = self._seen + self._replayed * len(self._rows)
        eager = self._values[:, : self._seen].sum(1)
        means = ((eager + self._sums if self._replayed else eager) / images).tolist()
        return dict(zip(self._names, means, strict=True))

    def begin(self) -> None:
        super().begin()
        self._sums.zero_()
        self._replayed = 0

    def _work(self) -> None:
        terms = self._run(self._rows, self._progress, self._learning)
        self._sums.add_(terms.values.sum(1))


@contextlib.contextmanager
def _waits(device: torch.device, watched: bool) -> Iterator[list[str]]:
    """Yield a list that, once the block has ended, contains torch's warnings about operations that waited for the
    device."""
    found: list[str] = []
    if device.type != "cuda" or not watched:
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode(before)
        for warning in caught:
            message = str(warning.message)
            if _WAITS in message:
                found.append(message)
            elif _WATCHING not in message:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def _on(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Run the block on ``stream``, ordered after earlier and before later work of the current stream."""
    if stream is None:
        yield
        return
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(stream.device).wait_stream(stream)
