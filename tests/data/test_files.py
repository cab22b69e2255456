import gzip

import boto3
import pytest

from eshop_ray.data.files import list_files, open_bytes, resolve, state_of
from eshop_ray.errors import UserError


@pytest.fixture
def bucket(s3):
    return boto3.resource("s3", endpoint_url=s3).Bucket("shop")


def read(path):
    with open_bytes(path) as stream:
        return stream.read()


def test_split_is_taken_from_the_name(tmp_path):
    for name in ("train.conll", "dev.conll", "dev.conll.bak", "notes.txt"):
        (tmp_path / name).write_text("x")
    files = list_files(str(tmp_path), "{split}.conll")
    assert [(file.path, file.split) for file in files] == [
        (f"{tmp_path}/dev.conll", "dev"),
        (f"{tmp_path}/train.conll", "train"),
    ]


def test_wildcards_match_within_and_across_folders(tmp_path):
    for name in ("a.json", "b/c.json", "b/d/e.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert len(list_files(str(tmp_path), "*.json")) == 1
    assert len(list_files(str(tmp_path), "*/*.json")) == 1
    assert len(list_files(str(tmp_path), "**/*.json")) == 3


def test_one_of_some_names_is_matched(tmp_path):
    for name in ("reviews.jsonl", "meta.jsonl", "reviews_other.jsonl", "a+b.jsonl"):
        (tmp_path / name).write_text("x")

    def names(pattern):
        return [file.path.rpartition("/")[2] for file in list_files(str(tmp_path), pattern)]

    assert names("{reviews,meta}.jsonl") == ["meta.jsonl", "reviews.jsonl"]
    assert names("{absent,a+b}.jsonl") == ["a+b.jsonl"]
    assert names("reviews{,_other}.jsonl") == ["reviews.jsonl", "reviews_other.jsonl"]
    with pytest.raises(UserError, match="no such file"):
        names("{absent,gone}.jsonl")


def test_gzip_is_unpacked_and_damage_is_named(tmp_path):
    (tmp_path / "good.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"one\ntwo\n" * 1000)[:20])
    assert read(f"{tmp_path}/good.gz") == b"one\ntwo\n"
    with pytest.raises(UserError, match=r"bad\.gz"):
        read(f"{tmp_path}/bad.gz")


@pytest.mark.parametrize("pattern", ["absent.conll", "{split}.conll", "absent/**/*.json"])
def test_pattern_without_a_match_is_named(tmp_path, pattern):
    with pytest.raises(UserError, match=r"no such file; set `data\.root`"):
        list_files(str(tmp_path), pattern)


def test_resolve_keeps_the_query_of_a_uri_at_its_end():
    assert resolve("s3://shop/raw?region=eu", "{split}.conll") == "s3://shop/raw/{split}.conll?region=eu"
    assert resolve("data", "s3://other/x") == "s3://other/x"
    assert resolve("/data", "/other/x") == "/other/x"


def test_state_changes_with_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    before = state_of(str(path))
    path.write_text("xy")
    assert state_of(str(path)) != before


def test_s3_is_listed_and_read(bucket):
    bucket.put_object(Key="raw/train.conll", Body=b"red\tB-color\n")
    bucket.put_object(Key="raw/dev.conll.gz", Body=gzip.compress(b"blue\tB-color\n"))
    (train,) = list_files("s3://shop/raw", "{split}.conll")
    assert (train.path, train.split) == ("s3://shop/raw/train.conll", "train")
    assert read(train.path) == b"red\tB-color\n"
    (dev,) = list_files("s3://shop", "raw/{split}.conll.gz")
    assert read(dev.path) == b"blue\tB-color\n"
    with pytest.raises(UserError, match="s3://shop/raw/absent"):
        list_files("s3://shop/raw", "absent")


def test_s3_endpoint_in_the_uri(s3, bucket, monkeypatch):
    bucket.put_object(Key="train.conll", Body=b"red\tB-color\n")
    host = s3.removeprefix("http://")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    root = f"s3://shop?endpoint_override={host}&scheme=http&region=us-east-1"
    (file,) = list_files(root, "{split}.conll")
    assert file.split == "train"
    assert read(file.path) == b"red\tB-color\n"
