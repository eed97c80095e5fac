"""A seed decides what is asked for and who is killed, and nothing else does."""

from collections import Counter

from health_pipelines_tests.crash.plan import OF_POSTGRES, WEIGHTS, Role, Wish, strokes


def test_a_seed_means_the_same_work_and_the_same_kills() -> None:
    assert list(strokes(7, 50, postgres=True)) == list(strokes(7, 50, postgres=True))
    assert list(strokes(7, 50, postgres=True)) != list(strokes(8, 50, postgres=True))
    # A round that is cut short is the beginning of the longer one.
    assert list(strokes(7, 50, postgres=True))[:9] == list(strokes(7, 9, postgres=True))


def test_every_role_and_every_kind_of_work_has_its_turn() -> None:
    drawn = list(strokes(1, 1000, postgres=True))
    first = Counter(stroke.kill.roles[0] for stroke in drawn)
    assert first.keys() == set(Role)
    # More than half of all are for runs at work, by the weights.
    assert first[Role.RUN] > 1000 * WEIGHTS[Role.RUN] / sum(WEIGHTS.values()) * 0.9
    assert {work.wish for stroke in drawn for work in stroke.work} == set(Wish)
    assert all(set(stroke.kill.roles) == set(Role) for stroke in drawn)


def test_postgresql_is_left_alone_where_dagsters_record_is_in_files() -> None:
    roles = {role for stroke in strokes(1, 1000, postgres=False) for role in stroke.kill.roles}
    assert roles == set(Role) - set(OF_POSTGRES)


def test_kills_are_dense() -> None:
    seconds = [stroke.kill.after_seconds for stroke in strokes(1, 1000, postgres=True)]
    assert 60 / (sum(seconds) / len(seconds)) > 20
