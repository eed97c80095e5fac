"""Where all chance in the sandbox comes from: a hash of what is being drawn for.

The same words give the same draw in every process and on every machine, which `hash()` does not promise.
"""

import hashlib
import random


def stable_number(*words: object) -> int:
    """A 64-bit number that depends on nothing but the words."""
    text = "|".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def stable_random(*words: object) -> random.Random:
    """A generator of its own for one subject: drawing more for one day cannot disturb another."""
    return random.Random(stable_number(*words))
