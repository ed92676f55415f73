"""What `policy` does: it shows what one policy for any network decides, trains it, and measures it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from agents.general import train_policy
from agents.general_settings import GeneralSettings
from envs.mixture import DRAWS, KEEPS, LEVELS, Mixture
from envs.policy import Policy
from profilesearch.cli.console import Output
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import named
from profilesearch.errors import UsageError
from profilesearch.measure.reaching import rows_off
from profilesearch.networks.architectures import build, check_architecture, image_size
from profilesearch.networks.names import POLICY, folder_name
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import rivals_of
from profilesearch.profiles import Budget, Metric
from profilesearch.reporting.plots import rivals_figure, save_figure
from profilesearch.research.policy.families import family_of
from profilesearch.research.policy.left_out import RIVAL_NAMES, Row, evidence_of, leave_one_out, measure
from profilesearch.research.policy.settings import Policing
from profilesearch.scoring.engines import Engine, open_engine
from profilesearch.scoring.problem import Problem
from profilesearch.system.files import read_json, write_json
from profilesearch.system.folders import digest_of
from profilesearch.system.naming import safe_name
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.files import FileImages
from profilesearch.tasks.hardware import open_device


def policy(settings: Policing) -> None:
    """Does what `policy` is told."""
    output = Output.of(settings)
    if settings.action == "show":
        show(settings, output)
        return
    for name in settings.architectures:
        check_architecture(name)
    open_device(settings.device)
    known = unlearned(settings) if settings.action == "measure" else None
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        problems = problems_of(settings, output, engine)
        if known is not None:
            measure_stored(settings, known, problems, output)
        else:
            {"train": train, "evaluate": evaluate}[settings.action](settings, problems, output)


def problems_of(settings: Policing, output: Output, engine: Engine) -> list[Problem]:
    """Returns one problem for each architecture of the pool; data sets are read once."""
    problems: list[Problem] = []
    shared: dict[str, DataSet] = {}
    for arch, checkpoints in settings.architectures.items():
        own = replace(settings, arch=arch, checkpoint=tuple(checkpoints), keep=KEEPS[1])
        workspace = Workspace(own, output)
        workspace.loaded.update(shared)
        problem = workspace.problem(workspace.pool(own), engine, own)
        shared |= {name: data for name, data in workspace.loaded.items() if not isinstance(data.train, FileImages)}
        members = ", ".join(f"{m.name} {b:.3f}" for m, b in zip(problem.members, problem.base(), strict=True))
        output.say(f"{arch}: {problem.space.size} groups in scope '{settings.scope}'; {members}")
        problems.append(problem)
    return problems


def _trained(settings: Policing, output: Output, problems: Sequence[Problem], left_out: str = "") -> Policy:
    """Trains a policy on some problems, with its settings in what is said about it."""
    mixture = Mixture(problems, KEEPS, [settings.budget.metric], settings.objective)
    without = f" without {left_out}" if left_out else ""
    with output.search_progress(f"training a policy{without}", settings.evaluations) as move:
        policy = train_policy(mixture, settings.evaluations, settings.seed, progress=move)
    return policy.with_about(**_about(settings, problems))


def _about(settings: Policing, problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "architectures": {
            problem.space.architecture: {
                "family": family_of(problem.space.architecture),
                "members": [{"name": m.name, "data": m.data, "trained_on": m.trained_on} for m in problem.members],
                "groups": problem.space.size,
            }
            for problem in problems
        },
        "pixels": sorted({pixels for problem in problems for pixels in problem.pixels}),
        "keeps": list(KEEPS),
        "metrics": [settings.budget.metric],
        "scope": settings.groups,
        "objective": settings.objective,
        "seed": settings.seed,
        "evaluations": settings.evaluations,
        "yardstick_scores": sum(len(problem.members) for problem in problems) * LEVELS * (DRAWS + 1),
        "ppo": asdict(GeneralSettings()),
        "score_settings": problems[0].used()[0].identity(),
        "settings": digest_of({
            "problems": sorted(problem.digest for problem in problems),
            "how": [settings.objective, settings.seed, settings.evaluations, list(KEEPS), asdict(GeneralSettings())],
        }),
    }  # fmt: skip


def train(settings: Policing, problems: Sequence[Problem], output: Output) -> None:
    """Trains a policy on all problems and stores it, with the evidence that `evaluate` found for these settings.

    Raises:
        UsageError: Another policy has this name.
    """
    path = settings.file
    if path.exists() and _settings_of(path) != _about(settings, problems)["settings"]:
        raise UsageError(
            f"{path} is there already, trained with other settings, and would be lost; give the new policy another "
            "name with --name, or remove the file"
        )
    policy = _trained(settings, output, problems).with_about(command=settings.command)
    if evidence := _found(settings, policy.about["settings"]):
        policy = policy.with_about(evidence=evidence)
    policy.save(path)
    said = (
        "with the evidence of `policy evaluate`"
        if "evidence" in policy.about
        else ("without evidence: `policy evaluate` with the same settings measures it")
    )
    output.say(
        f"stored {path} ({path.stat().st_size / 1e3:.1f} kB, {policy.about['scores']} scores, and "
        f"{policy.about['yardstick_scores']} for the scale of rewards), {said}"
    )
    output.result({"policy": str(path), "digest": policy.digest, **policy.about})


def _settings_of(path: Path) -> str:
    """Returns the digest of a policy's settings; nothing where the file cannot be read."""
    with suppress(UsageError):
        return str(Policy.load(path).about.get("settings"))
    return ""


def _record(settings: Policing, part: Sequence[str] = (), measured: str = "") -> Path:
    """Returns the file of an evaluation's rows; those that are no evidence for a policy have names of their own."""
    ways = "-as-applied" * settings.as_applied + "-equal-params" * settings.equal_params
    without = f"-without-{safe_name('-'.join(part))}" if part else ""
    return settings.runs / POLICY / f"{settings.name}{measured}{ways}{without}.json"


def _known(path: Path) -> Mapping[str, Any]:
    found = read_json(path, "record of an evaluation") if path.exists() else {}
    return found if isinstance(found, dict) and isinstance(found.get("evidence"), dict) else {}


def _found(settings: Policing, known: str) -> Mapping[str, Any]:
    """Returns the evidence that was found for a policy's settings, before others that of what `apply` makes."""
    for way in (True, False):
        record = _known(_record(replace(settings, as_applied=way)))
        if record.get("settings") == known:
            return record["evidence"]  # type: ignore[no-any-return]  # _known checked it
    return {}


def evaluate(settings: Policing, problems: Sequence[Problem], output: Output) -> None:
    """Leaves one family out after the other, writes what was measured, and gives it to the policy of these settings.

    A part of the families, with --leave-out, gives the policy nothing: what it has may be of all of them. Nor do equal
    parameters: what is decided by that evidence has budgets of one metric.
    """
    families = {problem.space.architecture: family_of(problem.space.architecture) for problem in problems}
    train_without, told = partial(_trained, settings, output), partial(_told, settings.budget.metric, output)
    asked = tuple(dict.fromkeys(settings.leave_out))
    only = () if set(asked) == set(families.values()) else asked
    rows = leave_one_out(problems, families, train_without, settings.sizes, settings.seed, told, only)
    evidence = _evidence(settings, problems, rows)
    record = _record(settings, only)
    known = _about(settings, problems)["settings"]
    write_json(record, {"settings": known, "evidence": evidence})
    _tables(rows, evidence, output, settings.as_applied)
    path = settings.file
    evident = not only and not settings.equal_params
    if evident and path.exists() and (policy := Policy.load(path)).about.get("settings") == known:
        found = _found(settings, known)
        policy.with_about(evidence=found).save(path)
        kept = f"{path} keeps the evidence of --as-applied, by which more is known"
        output.say(f"the evidence is now in {path}" if found == evidence else kept)
    output.say(f"rows in {record}")
    output.result({"record": str(record), **evidence})


def unlearned(settings: Policing) -> Policy:
    """Returns the stored policy that is measured on the families of the pool.

    Raises:
        UsageError: There is no such policy, or it learned from one of them.
    """
    policy = Policy.load(settings.file)
    learned = {about["family"] for about in policy.about.get("architectures", {}).values()}
    for family in map(family_of, settings.architectures):
        if family in learned:
            raise UsageError(
                f"the policy {settings.name} learned from {family}; measure it on other families, or leave this one "
                "out with `policy evaluate`"
            )
    return policy


def measure_stored(settings: Policing, policy: Policy, problems: Sequence[Problem], output: Output) -> None:
    """Measures a stored policy on architectures of families that it did not learn from."""
    rows: list[Row] = []
    for problem in problems:
        family = family_of(problem.space.architecture)
        for row in measure(problem, policy, family, settings.sizes, settings.seed):
            _told(settings.budget.metric, output, row)
            rows.append(row)
    evidence = _evidence(settings, problems, rows)
    record = _record(settings, measured="-measured")
    write_json(record, {"policy": policy.digest, "evidence": evidence})
    _tables(rows, evidence, output, settings.as_applied)
    output.say(f"rows in {record}")
    output.result({"record": str(record), **evidence})


def _evidence(settings: Policing, problems: Sequence[Problem], rows: Sequence[Row]) -> dict[str, Any]:
    data = sorted({member.data for problem in problems for member in problem.members})
    return {**evidence_of(rows), "data": data, "command": settings.command}


def _told(metric: Metric, output: Output, row: Row) -> None:
    worth = ", ".join(f"{name} {value:.3f}" for name, value in row.scores.items())
    output.say(f"{row.architecture} at {row.at}, by a policy that never saw {row.family}: {worth}")
    costs = {name: (reached, row.params[name]) for name, reached in row.reached.items()}
    if off := rows_off(Budget(metric, row.keep, row.keep_params), costs):
        output.say(off)


def _tables(rows: Sequence[Row], evidence: Mapping[str, Any], output: Output, as_applied: bool) -> None:
    names = [name for name in ("policy", *RIVAL_NAMES) if any(name in row.scores for row in rows)]
    equal = any(row.keep_params is not None for row in rows)
    title = "accuracy relative to the unpruned members, on images that chose nothing; the policy never saw the family"
    title += "; all have the parameters of uniform" if equal else ""
    title += "; every layer refitted, as `apply` does it" if as_applied else ""
    for heading, key, digits in ((title, "scores", ".3f"), ("part of the parameters that is left", "params", ".1%")):
        cells = []
        for row in rows:
            values = getattr(row, key)
            cells.append([row.architecture, row.at, *(f"{values[n]:{digits}}" if n in values else "" for n in names)])
        output.table(heading, ["architecture", "keep", *names], cells)
    gains = [
        [
            name if " over " in name else f"policy over {name}",
            *(f"{gain[k] * 100:+.2f}" for k in ("mean", "low", "high")),
        ]
        for name, gain in evidence["gains"].items()
    ]
    if not gains:
        return
    output.table(f"points, 95 % intervals over {evidence['families']} families", ["", "mean", "from", "to"], gains)


def show(settings: Policing, output: Output) -> None:
    """Shows the profile that the stored policy decides for a network, beside those that need no search.

    Raises:
        UsageError: There is no policy, or the budget is out of reach.
    """
    size = settings.image_size or image_size(settings.arch)
    network = build(settings.arch, 10)
    plan = Plan(settings.arch, network, (3, size, size))
    space = plan.space(settings.budget, settings.groups, int(settings.multiple_of))
    profile = named(POLICY, settings.budget, settings.store).profile(space, settings.seed)
    table = space.table
    widths = {POLICY: space.widths(table.ratios(profile)), **rivals_of(space)}
    rows = [
        [name, str(channels), *(f"{each[place]} ({each[place] / channels:.2f})" for each in widths.values())]
        for place, (name, channels) in enumerate(zip(table.names, table.channels.tolist(), strict=True))
    ]
    output.table(f"{settings.arch} at {space.budget.text}", ["group", "channels", *widths], rows)
    costs = [
        [name, f"{space.relative(each):.2%}", f"{space.cost.macs(each) / 1e6:.2f} M", space.params_text(each)]
        for name, each in widths.items()
    ]
    output.table("cost", ["profile", f"of the {space.budget.metric}", "MACs", "parameters"], costs)
    picture = settings.runs / POLICY / f"{folder_name(settings.arch)}.png"
    save_figure(rivals_figure(table.names, table.channels, widths, f"{settings.arch}: {space.budget.text}"), picture)
    output.say(f"picture: {picture}")
    output.result({"profile": profile.to_json(), "picture": str(picture)})
