"""The vendor's refusals that more than one place gives. The words are the vendor's or Django's (guess)."""

from collections.abc import Mapping

from health_pipelines.sandbox.answers import Answer, json_answer

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}
NO_CREDENTIALS = json_answer(401, {"detail": "Authentication credentials were not provided."}, CHALLENGE)
BAD_TOKEN = json_answer(401, {"detail": "Invalid token."}, CHALLENGE)

FORBIDDEN = json_answer(403, {"detail": "You do not have permission to perform this action."})
INVALID_PAGE = json_answer(404, {"detail": "Invalid page."})


def throttled(seconds: float, headers: Mapping[str, str] | None = None) -> Answer:
    """Seen in the wild: `Request was throttled. Expected available in 2295.0 seconds.`"""
    detail = f"Request was throttled. Expected available in {float(seconds)} seconds."
    return json_answer(429, {"detail": detail}, headers)


def invalid_uuid(status: int) -> Answer:
    """A list that is gone, was never there, or is another endpoint's."""
    return json_answer(status, {"detail": "Invalid uuid specified"})
