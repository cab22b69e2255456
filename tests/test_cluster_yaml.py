"""`cluster.yaml` is valid by Ray's own rules, the ones that `ray up` applies; nothing contacts a cloud."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent


def load_cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def validate(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_is_valid() -> None:
    validate(load_cluster())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_wrokers", 8),
        ("max_workers", "eight"),
        ("idle_timeout_minutes", "soon"),
        ("setup_commands", [1]),
        ("available_node_types", {"head": {"resources": {"GPU": -1}, "node_config": {}}}),
        ("available_node_types", {"head": {"node_config": {}}}),
    ],
)
def test_broken_copy_fails(key: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate({**load_cluster(), key: value})


def test_unknown_head_type_fails() -> None:
    with pytest.raises(ValueError, match="head_node_type"):
        validate({**load_cluster(), "head_node_type": "no_such_type"})


def test_nodes_fit_together() -> None:
    cluster = load_cluster()
    head = cluster["available_node_types"][cluster["head_node_type"]]
    workers = [node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert "GPU" not in head["resources"]
    assert head["max_workers"] == 0
    assert workers
    for worker in workers:
        assert worker["resources"]["GPU"] >= 1
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= cluster["max_workers"]
        assert worker["node_config"]["ImageId"] == head["node_config"]["ImageId"]


def test_mounted_files_exist_and_are_installed() -> None:
    cluster = load_cluster()
    mounts = {remote: local for remote, local in cluster["file_mounts"].items() if not local.startswith("~")}
    for local in mounts.values():
        assert (ROOT / local).is_file()
    (lock,) = mounts
    assert any(lock in command for command in cluster["setup_commands"])
    assert any("RAY_AUTH_MODE=token" in command for command in cluster["setup_commands"])


def test_disks_and_the_way_to_the_file_system_are_encrypted() -> None:
    cluster = load_cluster()
    for node in cluster["available_node_types"].values():
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
    mounts = [line for command in cluster["setup_commands"] for line in command.splitlines() if "mount -t nfs4" in line]
    assert mounts
    assert all("127.0.0.1:/" in line for line in mounts)
