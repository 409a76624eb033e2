"""Numbers that papers report for a data set, for its board: the numbers of targets and their resolved recipes."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.reproduction.targets import Published, Target


def published(targets: Mapping[str, Target], dataset: str) -> list[Published]:
    """All arms on a data set for which the source reports a metric, in the order of targets. Raises ``UserError``."""
    found = []
    for target in targets.values():
        for name, named in target.arms.items():
            # The runs of an arm with ``of`` are those of the other target, with its options and seeds.
            owner = targets[named.of] if named.of else target
            own_name = next(iter(owner.arms)) if named.of else name
            arm, full = owner.arms[own_name], owner.full
            numbers = target.reported(name)
            if arm.dataset != dataset or not numbers:
                continue
            # Imported here because it imports torch, and many data sets have no published numbers.
            from benchmarks.reproduction.recipes import compose_arm

            (config,) = compose_arm(owner, own_name, full.seeds[:1], full.options)
            states = any(option.startswith("network.latent_size=") for option in [*arm.options, *full.options])
            found.append(Published(target, numbers, arm.variant, config.resolved(), states))
    return found
