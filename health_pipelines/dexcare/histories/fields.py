"""The fields of DexCare's provider histories that are documented, and what each means.

Belongs here: the list. Does not belong here: what becomes of a field (`warehouse/current.py`).
"""

from collections.abc import Mapping

# Documented as search terms; the type of none is. What each means, as its name says it.
HISTORY_FIELDS: Mapping[str, str] = {
    "id": "DexCare's id of the event.",
    "action": "What happened, as DexCare calls it.",
    "visitId": "The visit that it happened to.",
    "providerId": "DexCare's id of the provider.",
    "providerEmailAddress": "The provider's e-mail address.",
    "providerName": "The provider's whole name.",
    "providerFirstName": "The provider's first name.",
    "providerLastName": "The provider's last name.",
    "providerCredentials": "The provider's credentials, e.g. a degree.",
    "actorId": "DexCare's id of who did it.",
    "actorEmail": "The e-mail address of who did it.",
    "actorFirstName": "The first name of who did it.",
    "actorLastName": "The last name of who did it.",
}
