"""A secret that is in a file, as orchestrators mount them.

Belongs here: reading it, and what is said of a file that holds none. Does not belong here: which setting
names the file (`values.py`).
"""

from pathlib import Path

from health_pipelines.settings.secret import Secret

# A key or a URL is far shorter; a file that is longer is another file.
LONGEST_SECRET_BYTES = 64 << 10


class SecretFileError(Exception):
    """What is wrong with the file, as the end of a sentence, and nothing of what it holds."""


def secret_in(file: str) -> Secret:
    """What the file holds, without the blanks around it. Raises `SecretFileError`."""
    secret, problem = Secret(""), None
    try:
        path = Path(file).expanduser().absolute()
        problem = _wrong_kind(path)
        if problem is None:
            secret = Secret(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except RuntimeError:
        problem = "is in a home folder that is not known"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    problem = problem or _wrong_content(secret)
    # Raised out here: the exceptions above may hold the content.
    if problem is not None:
        raise SecretFileError(problem)
    return secret


def _wrong_kind(path: Path) -> str | None:
    """Looked at before it is opened: a pipe would be waited for, and gives what it holds only once."""
    if not path.is_file():
        return "is not a file" if path.exists() else "does not exist"
    return "is too large to be a secret" if path.stat().st_size > LONGEST_SECRET_BYTES else None


def _wrong_content(secret: Secret) -> str | None:
    if not secret.reveal():
        return "is empty"
    return None if secret.reveal().isprintable() else "holds more than one line"
