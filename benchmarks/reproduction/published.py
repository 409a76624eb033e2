"""Numbers that papers report for a data set, for its board: the numbers of targets and their resolved recipes."""

from __future__ import annotations

from benchmarks.reproduction.targets import Published, all_targets


def published(dataset: str) -> list[Published]:
    """All arms on a data set for which the source reports a metric, in the order of targets. Raises ``UserError``."""
    targets = all_targets()
    found = []
    for target in targets.values():
        for name, named in target.arms.items():
            # The runs of an arm with ``of`` are those of the other target, with its options and seeds.
            arm, full = (targets[named.of].only_arm, targets[named.of].full) if named.of else (named, target.full)
            numbers = target.reported(name)
            if arm.dataset != dataset or not numbers:
                continue
            # Imported here because it imports torch, and many data sets have no published numbers.
            from benchmarks.config import compose

            options = [*arm.options, *full.options]
            config = compose(arm.variant, dataset, arm.profile, full.seeds[0], options)
            states = any(option.startswith("network.latent_size=") for option in options)
            found.append(Published(target, numbers, arm.variant, config.resolved(), states))
    return found
