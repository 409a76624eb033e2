"""Checks of a variant's methods: of their signatures, when its class is created, and of what they return."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

# Hooks with fixed arguments -> these arguments, and the signature that the error shows.
HOOKS = {
    "reconstruction": (("step",), "reconstruction(self, step) -> r, with step.x, step.likelihood and step.z"),
    "regulariser": (
        ("step",),
        "regulariser(self, step) -> penalty, with step.x, step.q, step.z, step.kl, step.progress and "
        "step.log(name, term)",
    ),
    "loss": (("batch", "progress"), "loss(self, batch, progress) -> Loss, with batch.images, .condition and .labels"),
}
# Names that a subclass may define by mistake and that nothing calls -> the correct name.
MISSPELT = {"regularizer": "regulariser", "regularization": "regulariser", "regularisation": "regulariser"}
# Methods that the suite calls with condition=...; a model that is not conditional may omit this argument.
CONDITIONED = (
    "prior", "posterior", "likelihood", "decode", "log_weights", "sample", "sample_latent", "reconstruct", "represent",
    "latent_means", "discrete_code", "image",
)  # fmt: skip


def check_hooks(cls: type) -> None:
    """Raise ``TypeError`` if a hook of ``cls`` does not take the arguments that the suite passes, or has a misspelt
    name that the suite never calls."""
    for name, hook in MISSPELT.items():
        if inspect.isfunction(cls.__dict__.get(name)):
            raise TypeError(f"{cls.__name__}.{name} is never called: name it {hook}")
    for name, (expected, line) in HOOKS.items():
        method = cls.__dict__.get(name)
        if not inspect.isfunction(method):
            continue
        found = tuple(inspect.signature(method).parameters)[1:]
        if len(found) != len(expected) or found[0] == "x":
            raise TypeError(f"{cls.__name__}.{name}({', '.join(found)}) has an old or unknown signature; write {line}")


def accept_condition(cls: type) -> None:
    """Wrap the methods of ``cls`` that take no ``condition``, so that they accept and ignore one: a model that is not
    conditional can define ``posterior(x)``."""
    for name in CONDITIONED:
        method = cls.__dict__.get(name)
        if inspect.isfunction(method) and not _takes_condition(method):
            setattr(cls, name, _ignoring_condition(method))


def _takes_condition(method: Callable[..., Any]) -> bool:
    parameters = inspect.signature(method).parameters
    return "condition" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _ignoring_condition(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def accepting(self: Any, *arguments: Any, condition: Any = None, **options: Any) -> Any:
        return method(self, *arguments, **options)

    return accepting


def check_returned(cls: type, kinds: Mapping[str, tuple[type, str]]) -> None:
    """Wrap the methods of ``cls`` that ``kinds`` maps to a type and its description, so that they raise ``TypeError``
    for a result of another type. The error names the method; without it, a later line of the suite would fail."""
    for name, (kind, described) in kinds.items():
        method = cls.__dict__.get(name)
        if inspect.isfunction(method):
            setattr(cls, name, _returning(method, kind, f"{cls.__name__}.{name} must return {described}"))


def _returning(method: Callable[..., Any], kind: type, required: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def returning(self: Any, *arguments: Any, **options: Any) -> Any:
        result = method(self, *arguments, **options)
        if not isinstance(result, kind):
            raise TypeError(f"{required}, got {'None' if result is None else f'a {type(result).__name__}'}")
        return result

    return returning
