"""The file's settings -> the core's settings: the one place where both shapes are known."""

from dataclasses import fields, replace

from beatward import action_settings, config
from beatward.core.detect import DetectorSettings
from beatward.core.figures import Goal
from beatward.core.guard import GuardSettings
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Join, Order
from beatward.core.pace import PaceSettings, read_weights
from beatward.core.policy import ActionRules, Rule
from beatward.core.roles.settings import RoleSettings
from beatward.role_settings import FailoverSettings, ServiceSettings


def core_settings(settings: config.Settings) -> CoreSettings:
    """Return what the pure machine needs to know of a settings file."""
    return CoreSettings(
        detector=_detector(settings.detector),
        membership=MembershipSettings(
            window_ns=settings.probe.window,
            spacing_ns=settings.probe.spacing,
            probes_per_second=settings.probe.rate,
            recovery_heartbeats=settings.recovery.heartbeats,
            hold_down_ns=settings.recovery.hold,
            hold_down_max_ns=settings.recovery.hold_max,
            calm_ns=settings.recovery.calm,
        ),
        pace=_pace(settings.pace),
        guard=GuardSettings(
            settings.monitor.pause_limit, settings.guard.late_turn, settings.guard.health
        ),
        mass=_mass(settings.guard),
        actions_per_minute=settings.guard.actions_per_minute,
        goal=Goal(settings.goal.detect_within, settings.goal.mistakes_every),
        start_grace_ns=settings.monitor.start_grace,
        rules=tuple(
            Rule(rule.on, rule.actions, rule.nodes, roles=rule.role, services=rule.services)
            for rule in settings.rule
        ),
        actions=_actions(settings),
        roles=_role(settings.failover),
        services={
            name: _service(settings.failover, service) for name, service in settings.service.items()
        },
    )


def _detector(detector: config.DetectorTable) -> DetectorSettings:
    # Each parameter has the name of its key, and `_ns` where it is a duration.
    parameters = {
        one.name: getattr(detector, one.name.removesuffix("_ns"))
        for one in fields(DetectorSettings)
    }
    if detector.margin == "auto":
        parameters["margin_ns"] = None
    return DetectorSettings(**parameters)


def _role(failover: FailoverSettings) -> RoleSettings:
    return RoleSettings(
        lease_ns=failover.lease,
        demote_ns=failover.demote_within,
        promote_ns=failover.promote_within,
        switchover_ns=failover.switchover_within,
        failback_ns=None if failover.failback == "never" else failover.failback,
    )


def _service(usual: FailoverSettings, service: ServiceSettings) -> RoleSettings:
    own = {name: getattr(service, name) for name in FailoverSettings.model_fields}
    own = {name: value for name, value in own.items() if value is not None}
    return replace(
        _role(usual.model_copy(update=own)),
        zones=service.zones,
        max_lag=service.max_lag,
        fence=service.fence or "",
        fence_required=service.fence_required,
        min_healthy=service.min_healthy,
        automatic=service.automatic,
    )


def job_orders(settings: config.Settings) -> list[Order]:
    """Return the orders that declare the jobs of a settings file."""
    return [Join(job.name, job=job.plan()) for job in settings.job]


def _pace(pace: config.PaceTable) -> PaceSettings:
    return PaceSettings(
        budget=pace.budget,
        min_ns=pace.min,
        max_ns=pace.max,
        weights=read_weights(list((pace.weights or {}).items())),
    )


def _mass(guard: config.GuardTable) -> MassSettings:
    return MassSettings(
        fleet_share=guard.fleet,
        zone_share=guard.zone,
        count_min=guard.count,
        window_ns=guard.mass_within,
        lift_share=guard.lift,
    )


def _actions(settings: config.Settings) -> dict[str, ActionRules]:
    fences = {service.fence for service in settings.service.values()}
    return {
        name: _action(name, action, is_fence=name in fences)
        for name, action in settings.action.items()
    }


def _action(name: str, action: action_settings.ActionSettings, *, is_fence: bool) -> ActionRules:
    return ActionRules(
        name=name,
        kind=action.kind,
        attempts_max=action.attempts,
        retry_ns=action.retry,
        retry_max_ns=action.retry_max,
        revives=action.is_revival,
        # A fence cuts a node off whatever its kind, unless the settings say otherwise.
        destructive=action.is_destructive or (is_fence and action.destructive is None),
    )
