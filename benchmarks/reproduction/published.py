"""Numbers that papers report for a data set, for its board: the numbers of targets and their resolved recipes."""

from __future__ import annotations

from benchmarks.reproduction.targets import Published, all_targets


def published(dataset: str) -> list[Published]:
    """All arms on a data set for which the source reports a metric, in the order of targets. Raises ``UserError``."""
    targets = all_targets()
    found = []
    for target in targets.values():
        for name, named in target.arms.items():
            arm = targets[named.of].only_arm if named.of else named
            numbers = target.reported(name)
            if arm.dataset != dataset or not numbers:
                continue
            # Imported here because it imports torch, and many data sets have no published numbers.
            from benchmarks.config import compose

            options = [*arm.options, *target.full.options]
            config = compose(arm.variant, dataset, arm.profile, target.full.seeds[0], options)
            states = any(option.startswith("network.latent_size=") for option in options)
            found.append(Published(target, numbers, arm.variant, config.resolved(), states))
    return found
