"""How news are put into words."""

from health_pipelines.alerts.news import (
    LONGEST_REASON,
    FailedRun,
    MissingDay,
    NamedRun,
    News,
    compose,
    name_some,
)

RUN = FailedRun("r1", "dexcare/avr_virtual", "2026-03-10")


def test_a_message_says_all_that_is_news_with_what_to_do() -> None:
    news = News(
        named=[
            NamedRun(RUN, 2, "1 of 1 days could not be landed."),
            NamedRun(FailedRun("r2", "a", ""), 1, "b"),
        ],
        unnamed={"dexcare/avr_retail": 3},
        missing=[MissingDay("dexcare/avr_virtual", "2026-03-10", "2026-03-10 is expected.")],
        landed={"drchrono/patients": "2026-03-09"},
    )

    message = compose(news, "uat", "https://ui.example.org")

    assert message.subject == ("uat: 6 runs failed, a day of 1 table is missing, 1 missing day landed")
    assert message.text == (
        "6 runs failed:\n"
        "- dexcare/avr_virtual 2026-03-10 (2 times): 1 of 1 days could not be landed. "
        "https://ui.example.org/runs/r1\n"
        "- a: b https://ui.example.org/runs/r2\n"
        "- and 3 more: 3 of dexcare/avr_retail.\n"
        "What to do: read the reason; the page of the run says more. When it is mended, materialize these "
        "days again.\n"
        "\n"
        "A day of 1 table is missing:\n"
        "- dexcare/avr_virtual: 2026-03-10 is expected.\n"
        "What to do: look at the last run of the table in Dagster, and whether its schedule and its sensor "
        "are on. Then materialize the day; of a visit report, its request.\n"
        "\n"
        "1 missing day landed:\n"
        "- drchrono/patients: 2026-03-09 has landed."
    )


def test_a_reason_is_one_line_of_bounded_length_and_the_subject_one_line() -> None:
    reason = "first\nsecond " + "long " * 500

    message = compose(News(named=[NamedRun(RUN, 1, reason)]), "uat", "")

    line = message.text.splitlines()[1]
    assert line.startswith("- dexcare/avr_virtual 2026-03-10: first second long ")
    assert line.endswith(" … Run r1.")
    assert len(line) < LONGEST_REASON + 100
    assert message.subject == "uat: 1 run failed"


def test_runs_for_the_same_days_are_one_trouble_told_by_the_newest_and_few_are_asked_about() -> None:
    failed = [FailedRun(f"r{number}", "a", f"day {number % 8}") for number in range(20)]
    asked = []

    def reason_of(run: FailedRun) -> str:
        asked.append(run.run_id)
        return "why"

    named, unnamed = name_some(failed, reason_of)

    assert [(one.run.days, one.times) for one in named] == [
        ("day 0", 3),
        ("day 1", 3),
        ("day 2", 3),
        ("day 3", 3),
        ("day 4", 2),
    ]
    assert asked == ["r16", "r17", "r18", "r19", "r12"]
    assert unnamed == {"a": 6}


def test_without_news_there_is_no_message() -> None:
    assert News().is_empty
    assert not News(landed={"a": "b"}).is_empty
