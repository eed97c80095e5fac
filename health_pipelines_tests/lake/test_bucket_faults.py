"""What goes wrong with a bucket is one sentence that names the setting, and the lake is as it was.

Faults are those of a proxy in front of the server: real answers over real HTTP.
"""

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from health_pipelines.lake.bucket_lake import BucketLake
from health_pipelines.lake.disk import UnusableDiskError, naming_the_disk
from health_pipelines.lake.object_store import Bucket
from health_pipelines.lake.partitions import Lake, PartitionBusyError
from health_pipelines.lake.store_problems import UnusableStoreError
from health_pipelines.lake.verification import State
from health_pipelines_tests.lake.test_verification import DAY, VISITS, land, states
from health_pipelines_tests.support.bucket_tree import bucket_lake, objects
from health_pipelines_tests.support.s3_server import (
    KEY,
    SECRET,
    Call,
    Proxy,
    Server,
    Wrong,
    credentials,
    error,
    in_environment,
    new_bucket,
    running_proxy,
)


@pytest.fixture(scope="module")
def one_proxy(s3_server: Server) -> Iterator[Proxy]:
    with running_proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def proxy(one_proxy: Proxy) -> Iterator[Proxy]:
    with in_environment(credentials(one_proxy.url)):
        yield one_proxy
    one_proxy.nothing()


@pytest.fixture
def lake(proxy: Proxy, s3_server: Server, tmp_path: Path) -> BucketLake:
    """With a day that has landed."""
    lake = bucket_lake(new_bucket(s3_server), tmp_path)
    land(lake, VISITS, DAY)
    return lake


CHAIN = "/visits/_chain"


def puts_the_partition(call: Call) -> bool:
    return call.writes("visits.parquet")


def trouble(lake: Lake, then: Callable[[], object] | None = None) -> str:
    """What is said of a landing, as a step has it; nothing of it may say a credential."""
    with pytest.raises(UnusableDiskError) as raised, naming_the_disk():
        (then or (lambda: land(lake, VISITS, DAY, version=2)))()
    says = str(raised.value)
    whole = "".join(traceback.format_exception(raised.value))
    assert KEY not in whole
    assert SECRET not in whole
    assert "HEALTH_LAKE_URL" in says
    assert str(lake) in says
    assert says.endswith(".")
    assert "\n" not in says
    return says


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (error(403, "AccessDenied"), "refused"),
        (error(400, "ExpiredToken"), "expired; renew them"),
        (error(403, "InvalidAccessKeyId"), "not known"),
        (error(403, "SignatureDoesNotMatch"), "not known"),
        (error(501, "NotImplemented"), "If-None-Match"),
        (error(404, "NoSuchBucket"), "Nobody has made"),
        (error(503, "SlowDown"), "Again and again 503"),
        (error(400, "IllegalLocationConstraintException"), "The answer is 400"),
        (Wrong(), "No connection lasts"),
    ],
    ids=lambda one: one.replace(" ", "-") if isinstance(one, str) else "",
)
def test_trouble_in_the_middle_of_a_landing_is_one_sentence_and_the_old_day_stands(
    lake: BucketLake, proxy: Proxy, wrong: Wrong, says: str
) -> None:
    before = objects(lake.url)
    proxy.always(puts_the_partition, wrong)

    assert says in trouble(lake)

    proxy.nothing()
    assert {key: text for key, text in objects(lake.url).items() if "date=" in key} == {
        key: text for key, text in before.items() if "date=" in key
    }
    assert set(states(lake).values()) <= {State.UNFINISHED}
    land(lake, VISITS, DAY, version=2)
    assert states(lake) == {}


def test_a_bucket_that_nobody_made_is_said_by_readers_and_writers(proxy: Proxy, tmp_path: Path) -> None:
    lake = bucket_lake("s3://nobody-made-this-one/health", tmp_path)
    for ask in (lambda: lake.days(VISITS), lambda: lake.kept_from(VISITS), lambda: land(lake, VISITS, DAY)):
        assert "Nobody has made the bucket of HEALTH_LAKE_URL" in trouble(lake, ask)


def test_credentials_that_are_nowhere_are_said(lake: BucketLake, proxy: Proxy, tmp_path: Path) -> None:
    # Without a role either: nobody answers where a machine of the cloud would be asked for it.
    nowhere = {"AWS_ENDPOINT_URL": proxy.url, "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}
    with in_environment(nowhere):
        other = BucketLake(f"{lake.url}/other", tmp_path / "other", 10**9)
        assert "There are no credentials" in trouble(other, lambda: other.days(VISITS))


def test_an_address_without_encryption_is_only_for_this_machine(tmp_path: Path) -> None:
    with in_environment(credentials("http://minio.hospital.internal:9000")):
        lake = BucketLake("s3://lake/without/encryption", tmp_path, 10**9)
        with pytest.raises(
            UnusableStoreError, match=r"AWS_ENDPOINT_URL starts with http:// .*HEALTH_LAKE_URL"
        ):
            lake.days(VISITS)


def test_a_profile_is_read_with_the_clouds_own_library_or_its_lack_is_said(
    lake: BucketLake, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        f"[clinic]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    profile = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_PROFILE": "clinic",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_REGION": "us-east-1",
        "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
    }
    with in_environment(profile):
        # Other texts for the same bucket, since each is opened once.
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "obstore.auth.boto3", None)
            without = BucketLake(f"{lake.url}/x", tmp_path / "x", 10**9)
            with pytest.raises(UnusableStoreError, match=r"AWS_PROFILE .*HEALTH_LAKE_URL.*pip install boto3"):
                without.days(VISITS)
        assert BucketLake(f"{lake.url}/y", tmp_path / "y", 10**9).days(VISITS) == []


@pytest.mark.parametrize("end", ["visits.parquet", "_manifest.json", "_chain"])
@pytest.mark.parametrize("is_carried_out", [False, True], ids=["not-carried-out", "carried-out"])
def test_a_connection_that_drops_after_the_last_byte_harms_nothing(
    lake: BucketLake, proxy: Proxy, end: str, *, is_carried_out: bool
) -> None:
    # Sent again, it is refused because of itself: what is there is what was written.
    proxy.once(lambda call: call.writes(end), Wrong(is_carried_out=is_carried_out))

    file = land(lake, VISITS, DAY, version=2)

    key = f"clinic/visits/date={DAY}/visits.parquet"
    assert objects(lake.url)[key] == file.read_bytes()
    assert states(lake) == {}
    numbers = [link.number for link in lake.chain(VISITS).links([])]
    assert numbers == [0, 1, 2, 3, 4], "no line twice"


def test_a_moment_of_trouble_is_waited_for(lake: BucketLake, proxy: Proxy) -> None:
    proxy.once(puts_the_partition, error(503, "SlowDown"))
    land(lake, VISITS, DAY, version=2)
    # Somebody else's put of the chain was under way, as S3 says it.
    proxy.once(lambda call: call.writes(CHAIN), error(409, "ConditionalRequestConflict"))
    land(lake, VISITS, DAY, version=3)
    assert states(lake) == {}


def test_half_a_partition_is_never_read(lake: BucketLake, proxy: Proxy, tmp_path: Path) -> None:
    other = bucket_lake(lake.url, tmp_path / "other")

    def reads(call: Call) -> bool:
        return call.method == "GET" and call.path.endswith("visits.parquet")

    proxy.once(reads, Wrong(half=True))
    whole = lake.partition_file(VISITS, DAY).read_bytes()
    assert other.partition_file(VISITS, DAY).read_bytes() == whole

    proxy.always(reads, Wrong(half=True))
    third = bucket_lake(lake.url, tmp_path / "third")
    assert "No connection lasts" in trouble(third, lambda: third.partition_file(VISITS, DAY))
    assert [file.name for file in third.root.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("end", ["visits.parquet", "_manifest.json", "_chain"])
def test_one_that_another_machine_overtakes_at_any_step_is_refused_and_nothing_is_mixed(
    lake: BucketLake, proxy: Proxy, tmp_path: Path, end: str
) -> None:
    other = bucket_lake(lake.url, tmp_path / "other")

    def overtake() -> None:
        proxy.nothing()
        land(other, VISITS, DAY, version=3)

    # Once announced: the first write of the chain is the announcement itself.
    writes = iter(range(100))

    def is_the_one(call: Call) -> bool:
        return call.writes(end) and (end != "_chain" or next(writes) == 1)

    proxy.once(is_the_one, Wrong(then=overtake))

    with pytest.raises(PartitionBusyError, match="on another machine, in HEALTH_LAKE_URL"):
        land(lake, VISITS, DAY, version=2)

    file = other.partition_file(VISITS, DAY)
    assert set(pl.read_parquet(file, hive_partitioning=False)["state"]) == {"s3"}
    assert states(other) == {}


@pytest.mark.parametrize("end", ["_manifest.json", "_chain"])
def test_one_that_another_machine_only_looks_in_on_lands_all_the_same(
    lake: BucketLake, proxy: Proxy, tmp_path: Path, end: str
) -> None:
    other = bucket_lake(lake.url, tmp_path / "other")

    def look_in() -> None:
        proxy.nothing()
        with other.writing(VISITS, DAY):
            pass

    writes = iter(range(100))

    def is_the_one(call: Call) -> bool:
        return call.writes(end) and (end != "_chain" or next(writes) == 1)

    proxy.once(is_the_one, Wrong(then=look_in))

    land(lake, VISITS, DAY, version=2)

    assert set(pl.read_parquet(lake.partition_file(VISITS, DAY), hive_partitioning=False)["state"]) == {"s2"}
    assert states(other) == {}


def test_an_object_that_is_too_large_for_one_call_is_refused_before_anything_is_sent(
    lake: BucketLake, proxy: Proxy, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(5 * 1024**3 + 1)
    before = len(proxy.calls)
    with pytest.raises(UnusableStoreError, match=r"5\.4 GB at once"):
        Bucket(lake.url).put("clinic/large", large, None)
    assert len(proxy.calls) == before
