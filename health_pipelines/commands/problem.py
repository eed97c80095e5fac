"""The one kind of error that a command shows to a person: a sentence, no stack trace."""


class ProblemError(Exception):
    """What went wrong and where to look, in one sentence."""
