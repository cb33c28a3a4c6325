"""How each task of the pipelines runs: its title, caching, retries and time-out, then its profile.

A task that gives the same result when it runs again is tried again when it fails, after a pause
that grows. A gate answers for today's evidence, a promotion moves something and a notification is
sent once: none of these comes out of a cache. The catalog's state outside the pipeline is in no
cache's key either. A time-out stands before the command itself (coreutils' `timeout`), since the
pipeline format has no field for it: it holds on every backend, and the step is asked to stop
(SIGTERM) a minute before it is made to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from kfp import dsl
from kfp.dsl import pipeline_context

from pipelines.kubernetes_overlay import Overlay, overlay_task
from pipelines.profile import COMMITTED, Profile, give_resources, read_profile


@dataclass(frozen=True)
class TaskPolicy:
    """How a task runs whatever the profile.

    Attributes:
        title: What the UI shows on it.
        timeout: How long it may take, as coreutils' `timeout` writes it: `90m`, `6h`.
        retries: How often it is tried again after a failure.
        cached: Whether the result of an earlier run with the same inputs may stand for it.
    """

    title: str
    timeout: str
    retries: int = 0
    cached: bool = False


TASKS: dict[str, TaskPolicy] = {
    "catalog": TaskPolicy("Check the catalog", "3h", retries=2),
    "transform": TaskPolicy("Write training examples", "12h", retries=2, cached=True),
    # On Vertex, where artifacts are mounts, a restarted training goes on from its checkpoints; on
    # Kubeflow it starts over (its remote backends keep theirs in the staging directory).
    "train": TaskPolicy("Train the encoder", "48h", retries=2, cached=True),
    "embed": TaskPolicy("Embed items and photos", "12h", retries=2, cached=True),
    "index": TaskPolicy("Build the index and its bundle", "6h", retries=2, cached=True),
    "evaluate": TaskPolicy("Gate: measure offline", "3h", retries=1),
    # Longer than a campaign may last (72 h), for a step that waits for its raters.
    "human_eval": TaskPolicy("Gate: ask raters", "80h", retries=2),
    "judge": TaskPolicy("Gate: judge the ratings", "80h", retries=2),
    "gates": TaskPolicy("What the gates say", "15m", retries=2),
    "promote": TaskPolicy("Promote", "1h"),
    "refused": TaskPolicy("Why it was refused", "15m", retries=2),
    "undecided": TaskPolicy("What is missing", "15m", retries=2),
    "notify": TaskPolicy("Notify", "15m"),
}
_FIRST_PAUSE, _LONGEST_PAUSE = "60s", "900s"
_KILL_AFTER = "60s"


@dataclass(frozen=True)
class Target:
    """What a compilation is for.

    Attributes:
        profile: Resources by task.
        overlay: What only Kubernetes understands; None for the portable file.
    """

    profile: Profile
    overlay: Overlay | None = None


_target: ContextVar[Target | None] = ContextVar("target", default=None)


@contextmanager
def compiling_for(target: Target) -> Iterator[None]:
    """Defines pipelines for `target` within; outside, for the profile of the committed files."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


def configure_tasks() -> None:
    """Gives every task of the pipeline being defined its policy and its profile.

    Call it last in a pipeline's definition.

    Raises:
        KeyError: A task has no policy: add one to `TASKS`.
    """
    target = _target.get() or Target(read_profile(COMMITTED))
    for task in pipeline_context.Pipeline.get_default_pipeline().tasks.values():
        name = task.name.replace("-", "_")
        policy = TASKS[name]
        task.set_display_name(policy.title)
        task.set_caching_options(enable_caching=policy.cached)
        if policy.retries:
            task.set_retry(
                policy.retries,
                backoff_duration=_FIRST_PAUSE,
                backoff_factor=2.0,
                backoff_max_duration=_LONGEST_PAUSE,
            )
        _limit_time(task, policy.timeout)
        give_resources(task, target.profile.steps.get(name))
        if target.overlay is not None:
            overlay_task(task, name, target.overlay)


def _limit_time(task: dsl.PipelineTask, timeout: str) -> None:
    command = task.container_spec.command
    task.container_spec.command = ["timeout", f"--kill-after={_KILL_AFTER}", timeout, *command]
