"""How both of DexCare's APIs are called: by whom, and which settings are to blame.

Belongs here: what the two clients have in common. Does not belong here: what each of them asks.
"""

from health_pipelines.http import CallBudget, PermanentError, VendorHttp
from health_pipelines.settings import HttpPolicy, Secret
from health_pipelines.settings.setting import Setting


class UnexpectedAnswerError(PermanentError):
    """A 2xx answer without what the documentation says is in it."""


def dexcare_http(
    base_url: str,
    key: Secret,
    policy: HttpPolicy,
    *,
    url_setting: Setting,
    key_setting: Setting,
    budget: CallBudget | None = None,
) -> VendorHttp:
    """`base_url`: scheme and host only. The key goes with every call, as both documentations say.

    `budget`: for who may make so many calls and no more; DexCare itself documents no limit.
    """
    return VendorHttp(
        vendor="DexCare",
        base_url=base_url,
        authorization=Secret(f"dc-token {key.reveal()}"),
        policy=policy,
        url_setting=url_setting.name,
        key_setting=key_setting.name,
        budget=budget,
    )
