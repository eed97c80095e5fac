"""The one way out of the house: calls to vendors, bounded retries, and what a failure means.

Belongs here: what every vendor's client needs. Does not belong here: any vendor's paths and words, and
anything of Dagster.
"""

from health_pipelines.http.addresses import origin_of, refuse_unsafe
from health_pipelines.http.call import Answer, Authorization, Call, CallBudget, Downloaded
from health_pipelines.http.client import VendorClient, VendorHttp
from health_pipelines.http.errors import (
    AccessDeniedError,
    NotFoundError,
    PermanentError,
    RefusedError,
    TransientError,
    UnreadableAnswerError,
    VendorError,
    WrongAddressError,
    speaks_for_all_calls,
)
from health_pipelines.settings.this_machine import is_loopback

__all__ = [
    "AccessDeniedError",
    "Answer",
    "Authorization",
    "Call",
    "CallBudget",
    "Downloaded",
    "NotFoundError",
    "PermanentError",
    "RefusedError",
    "TransientError",
    "UnreadableAnswerError",
    "VendorClient",
    "VendorError",
    "VendorHttp",
    "WrongAddressError",
    "is_loopback",
    "origin_of",
    "refuse_unsafe",
    "speaks_for_all_calls",
]
