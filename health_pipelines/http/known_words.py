"""Which words of a vendor's are shown: those that an API uses, and no others.

Belongs here: the list, and what is shown of a text. Does not belong here: where an answer has its text
(`answers.py`).

A vendor may repeat in an error what it was asked about, and so a patient, and nothing tells a name from
another word. So the question is turned round: of an error people need such words as `token`, `must be` and
`not found`. All else becomes `…`, every number too. A name that is made of such words alone would be shown.
"""

import re

_LEFT_OUT = "…"
_WORD = re.compile(r"\w+(?:[-'\u2019.@/\\]+\w+)*")
_SECONDS = re.compile(r"(?<=\bin )\d{1,5}(?:\.\d{1,3})?(?= seconds?\b)")
_MANY_LEFT_OUT = re.compile(rf"{_LEFT_OUT}(?:[^\w\[\]]*{_LEFT_OUT})+")

_WORDS = """
a about above accept accepted accepts access account action active after again all allowed already also an
and another any api application applications appointment appointments archived are argument arguments as at
athena attempt attempts authenticate authenticated authentication authorization authorized available aws bad
be bearer because been before being below between body both but by call called caller calls can canceled
cancelled cannot change changed character check choice choose client clinical closed code column columns
complete completed configured conflict connect connection content correct could count create created
credentials csv cursor data database date dates day days dc dead deleted denied deprecated detail details
did disabled do doctor does done down duplicate during each either eligibility empty enabled end enddate
ended endpoint ends enter entity entries error errors every exceed exceeded exception execution exist
existing exists expected expire expired expires failed failure field fields file filter first for forbidden
format found from full future gateway gave generate generated generating given gone grant greater guid had
has have header headers health histories history host hour hours html http id ids if in inactive includes
incorrect input instead integer internal into invalid is iso it item items its json key keys kind larger
last later least length less license limit limits line list lists load lock locked long longer lost made
maintenance malformed many match matched max maximum media memory message messages method min minimum minute
minutes missing month more most msg must name names need needed never new next no none not note notes
nothing null number numbers object occurred of off office offset old on once one only open operation or
order other out over overloaded own page pages parameter parameters parse password path patient patients
pattern payload per perform permission permissions please positive prepared preparing prescription present
processed processing progress properties property provided provider providerhistories query queryexecution
queue queued quota range rate reached read ready reason received record records redirect refresh refused
rejected remote repeat report reportid reporting reports request requested requests required resource
response result results retail retry revoked route row rows run running said same schema scope search second
seconds secret seem sent server service set short should since size slow smaller something soon sort
specified sql start startdate started state status still stop stopped string succeed succeeded success such
support supported syntax system table temporarily temporary tenant terms text than that the their them then
there these this those throttle throttled time timed timeout times to today token tokens too transaction
transactions try trying type types unable unauthorized unavailable unexpected unique unknown unprocessable
unsupported until up update updated upstream uri url usage use used user users utc utf uuid valid validation
value values verbose version virtual visit visits wait was we were what when where which while with within
without words working wrong you your zone provider_booking
"""
KNOWN_WORDS = frozenset(_WORDS.split())


def shown_words(text: str) -> str:
    """The text with every word and number that an API does not need left out; empty if nothing is left.

    A pause is shown: "available in 2295.0 seconds".
    """
    pauses = {found.span() for found in _SECONDS.finditer(text)}

    def shown(found: "re.Match[str]") -> str:
        return found[0] if found.span() in pauses or is_known(found[0]) else _LEFT_OUT

    left = _MANY_LEFT_OUT.sub(_LEFT_OUT, _WORD.sub(shown, text))
    return left if re.search(r"\w|\*", left) else ""


def is_known(word: str) -> bool:
    """Whether it, or each of its parts between hyphens or underscores, is a word that an API uses."""
    word = word.lower()
    return word in KNOWN_WORDS or all(part in KNOWN_WORDS for part in re.split(r"[-_]", word))
