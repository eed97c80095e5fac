"""Whether a setting contradicts what the last probe saw.

Belongs here: the comparison with the written result. Does not belong here: probing (`commands/probe.py`), and
what a setting has to be (`probe/finding.py`).
"""

from health_pipelines.doctor.finding import Finding, ok, problem, warning
from health_pipelines.doctor.installation import Installation
from health_pipelines.probe.questions import Probed
from health_pipelines.probe.record import ProbeFileError, last_probe
from health_pipelines.settings import SettingError, Settings
from health_pipelines.vendors.known import vendors

COMMAND = "`health-pipelines probe`"


def last_probed(installation: Installation) -> list[Finding]:
    """A warning for each setting that is contradicted, by a probe of the host that is set now."""
    settings = installation.settings
    try:
        known = last_probe(settings.data_dir)
    except ProbeFileError as error:
        return [problem(str(error))]
    if not known:
        return [ok(f"There was none; {COMMAND} finds out which assumptions hold here.")]
    hosts = _hosts(settings)
    of_these = [one for one in known if hosts.get(one.subject) == one.host]
    if not of_these:
        return [ok(f"It was of another host than is set now; {COMMAND} asks this one.")]
    found = [warning(said) for one in of_these for said in _contradictions(one, settings)]
    days = ", ".join(f"of {one.subject} on {one.at:%Y-%m-%d}" for one in of_these)
    return found or [ok(f"No setting contradicts it ({days}).")]


def _hosts(settings: Settings) -> dict[str, str]:
    """By subject, of what is set up."""
    probes = [probe for vendor in vendors(settings) for probe in vendor.probes]
    return {one.subject: one.host(settings) for one in probes if one.not_set_up(settings) is None}


def _contradictions(probed: Probed, settings: Settings) -> list[str]:
    said = []
    for need in (need for finding in probed.findings for need in finding.needs):
        try:
            value = need.contradicted(settings)
        except SettingError:  # which another check has said
            continue
        if value is not None:
            said.append(
                f"{need.setting} is {value}, but the probe of {probed.subject} on {probed.at:%Y-%m-%d} saw: "
                f"{need.why}. Set {need.wish}."
            )
    return said
