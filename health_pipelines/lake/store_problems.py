"""What is wrong with a bucket, as one sentence that names the setting.

Belongs here: telling a missing bucket, missing rights, an expired session, an endpoint in trouble and a
missing credential from each other. Does not belong here: what is asked of a bucket (`object_store.py`).

What the library says is never shown: an answer may quote a key's id, a signature or a token.
"""

import re

from health_pipelines.lake.disk import UnusableDiskError
from health_pipelines.settings.variables import HEALTH_LAKE_URL

_CODE = re.compile(r"<Code>([A-Za-z]{3,40})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
# How stores and libraries say it, and what that means and asks for. `{where}`: the bucket.
_CODES = {
    _NO_BUCKET: "Nobody has made {where}; make it, or correct the setting.",
    frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}): (
        "The session of the credentials for {where} has expired; renew them, and land again."
    ),
    frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed"}): (
        "The credentials are not known to {where}; correct those of the cloud (AWS_ACCESS_KEY_ID and kin)."
    ),
    frozenset({"AccessDenied", "AllAccessDisabled", "AuthorizationPermissionMismatch"}): (
        "Access is refused to {where}; let its credentials list, read, write and delete there."
    ),
    frozenset({"NotImplemented"}): (
        "Conditional puts are not known to {where}; take a store that honours If-Match and If-None-Match."
    ),
}
_STATUSES = {"401": "InvalidAccessKeyId", "403": "AccessDenied", "501": "NotImplemented"}
# Of the machine itself credentials are asked for when nothing else has any, whatever it answers.
_ASKED_THE_MACHINE = (
    "/latest/api/token",
    "/latest/meta-data",
    "metadata.google.internal",
    "/metadata/identity",
)
_NO_CREDENTIALS = (
    "There are no credentials for {where}; set those of the cloud (AWS_ACCESS_KEY_ID and kin), or give the "
    "machine a role."
)
_NO_CONNECTION = "No connection lasts to {where}; check the network and the endpoint (AWS_ENDPOINT_URL)."
_WORDS = {
    ("ccount must be specified",): "The account is not known of {where}; set AZURE_STORAGE_ACCOUNT_NAME.",
    ("sending request", "timed out", "onnect", "reading a body", "request or response body"): _NO_CONNECTION,
}


class UnusableStoreError(UnusableDiskError):
    """The bucket could not be read or written. One sentence without credentials and without values."""


class ChangedMeanwhileError(Exception):
    """An object is another version than the one that was seen."""


def has_no_bucket(error: BaseException) -> bool:
    return not _NO_BUCKET.isdisjoint(_CODE.findall(str(error)))


def sentence_about(url: str, error: BaseException) -> str:
    """What is wrong with the bucket of `url`, and what to do."""
    says = (
        (_NO_CREDENTIALS if any(one in str(error) for one in _ASKED_THE_MACHINE) else None)
        or _of_codes(str(error))
        or _of_words(str(error))
        or f"Nobody knows what is wrong ({type(error).__name__}) with {{where}}; check the setting, the "
        "region and the credentials."
    )
    return says.format(where=_shown(url))


def no_connection(url: str) -> UnusableStoreError:
    """Of a body that ended too early."""
    return UnusableStoreError(_NO_CONNECTION.format(where=_shown(url)))


def _shown(url: str) -> str:
    return f"the bucket of {HEALTH_LAKE_URL.name} ({url})"


def _of_codes(said: str) -> str | None:
    statuses = sorted(set(_STATUS.findall(said)))
    codes = {*_CODE.findall(said), *(_STATUSES[one] for one in statuses if one in _STATUSES)}
    for known, says in _CODES.items():
        if not known.isdisjoint(codes):
            return says
    if not statuses:
        return None
    if statuses[-1] >= "429":
        return f"Again and again {statuses[-1]} comes from {{where}}; try later, nothing has to be repaired."
    return f"The answer is {statuses[-1]} from {{where}}; check the setting, AWS_REGION and AWS_ENDPOINT_URL."


def _of_words(said: str) -> str | None:
    return next((says for words, says in _WORDS.items() if any(word in said for word in words)), None)
