"""From scores to pass, fail, undecided or expired.

**pass** when every component's E is at least 1/alpha at the same look; **fail** when any mirrored E
is at least (number of components)/alpha; **expired** at the cap or the deadline; else
**undecided**.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.contracts.errors import InputError
from components.contracts.verdict import Check, Status
from components.human_eval.eprocess import log_e, log_e_mirrored, lower_bound, upper_bound


@dataclass(frozen=True)
class Component:
    """One hypothesis that must be shown.

    Attributes:
        name: What is shown, such as `similarity`.
        slice: `all` or a department.
        scores: x in [0, 1] of the completed prefix of the recorded order.
        mean: m in (0, 1): the claim is "the mean of x exceeds m".
        planned: Scores at most; with so many and no decision the component expires.
        scale: A score is shown as offset + scale x: x itself, or a difference.
        offset: See scale.
        held: Why the claim holds without a rating; empty when it must be shown.
        blocked: Why the claim cannot be tested; empty when it can.
    """

    name: str
    slice: str
    scores: tuple[float, ...]
    mean: float
    planned: int
    scale: float = 1.0
    offset: float = 0.0
    held: str = ""
    blocked: str = ""

    def shown(self, x: float) -> float:
        """Returns a score on the scale that people read."""
        return self.offset + self.scale * x


@dataclass(frozen=True)
class Look:
    """Whether there may be a decision now.

    Attributes:
        allowed: Whether there may.
        reason: Why not, in words.
        deadline: What has run out, in words; empty while there is time.
    """

    allowed: bool
    reason: str = ""
    deadline: str = ""


def decide(components: Sequence[Component], *, alpha: float, look: Look) -> list[Check]:
    """Returns one check a component; the status of the whole is `verdict.combine` of them.

    Raises:
        InputError: There is no component, a score is NaN or out of range, or alpha is not in
            (0, 0.5].
    """
    if not components:
        raise InputError("human_eval: expected at least one component to decide on, received none")
    if not 0.0 < alpha <= 0.5:
        raise InputError(f"human_eval.alpha: expected a number in (0, 0.5], received {alpha}")
    return [_check(entry, len(components), alpha, look) for entry in components]


def _check(component: Component, components: int, alpha: float, look: Look) -> Check:
    requirement = f"> {component.shown(component.mean):.3f}"
    if component.held:
        return Check(
            component.name, "pass", component.held, component.slice, requirement=requirement
        )
    x, m = component.scores, component.mean
    if component.blocked or not x:
        reason = component.blocked or "nothing has been judged completely yet"
        return _open(component, look, f"{reason}", requirement, full=False)
    for_it = log_e(x, m)
    against = log_e_mirrored(x, m)
    observed = component.shown(math.fsum(x) / len(x))
    lower = component.shown(lower_bound(x, alpha=alpha))
    upper = component.shown(upper_bound(x, alpha=alpha, stakes_at=m))
    what = f"{observed:.3f} over {len(x)}"
    odds = f"evidence {_times(for_it)} for it, {_times(against)} against"
    status: Status
    if not look.allowed:
        return _open(
            component,
            look,
            f"{what}, too early to decide: {look.reason}",
            requirement,
            observed,
            lower,
            upper,
            full=False,
        )
    if against >= math.log(components / alpha):
        status, reason = "fail", f"{what}, shown to be below {requirement[2:]} ({odds})"
    elif for_it >= math.log(1.0 / alpha):
        status, reason = "pass", f"{what}, shown to be above {requirement[2:]} ({odds})"
    else:
        text = f"{what}, neither above nor below {requirement[2:]} is shown ({odds})"
        return _open(
            component,
            look,
            text,
            requirement,
            observed,
            lower,
            upper,
            full=len(x) >= component.planned,
        )
    return Check(
        component.name,
        status,
        _name(component) + reason,
        component.slice,
        observed,
        lower,
        upper,
        requirement,
    )


def _open(
    component: Component,
    look: Look,
    reason: str,
    requirement: str,
    observed: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    *,
    full: bool,
) -> Check:
    status: Status = "undecided"
    if full:
        status, reason = "expired", f"{reason}; all that was planned is judged"
    elif look.deadline:
        status, reason = "expired", f"{reason}; {look.deadline}"
    return Check(
        component.name,
        status,
        _name(component) + reason,
        component.slice,
        observed,
        lower,
        upper,
        requirement,
    )


def _name(component: Component) -> str:
    where = "" if component.slice == "all" else f" of {component.slice}"
    return f"{component.name.replace('_', ' ')}{where}: "


def _times(log: float) -> str:
    """Returns E as people read it, such as `35x` or `2e+09x`."""
    return f"{math.exp(min(log, 600.0)):.3g}x"
