"""The manifests in `jobs/kuberay` against KubeRay's field names, our own config and each other; no cluster is asked."""

import copy
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from eshop_ray.artifacts import SharedFolder
from eshop_ray.config import Config, load_config
from eshop_ray.serving.proxy import CALLBACK, VARIABLE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "jobs" / "kuberay"
SCHEMA = yaml.safe_load((ROOT / "tests" / "kuberay_schema.yaml").read_text())
MANIFESTS = sorted(path.name for path in FOLDER.glob("*.yaml"))

QUANTITY = re.compile(r"[0-9.]+(m|[kMGTP]|[KMGTP]i)?")
SCALARS = {
    "any": lambda _: True,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "map": lambda value: isinstance(value, dict) and all(isinstance(part, str) for part in value.values()),
    "quantities": lambda value: (
        isinstance(value, dict) and all(QUANTITY.fullmatch(str(part)) for part in value.values())
    ),
}


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def find_errors(value: Any, kind: Any, place: str = "") -> list[str]:
    """Walk a manifest; one line per unknown, missing or mistyped field."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{place}: not a list"]
        return [
            error for number, part in enumerate(value) for error in find_errors(part, kind[0], f"{place}[{number}]")
        ]
    if kind in SCALARS:
        return [] if SCALARS[kind](value) else [f"{place}: {value!r} is no {kind}"]
    if kind not in SCHEMA:
        return [] if value in kind.split("|") else [f"{place}: {value!r} is not {kind}"]
    if not isinstance(value, dict):
        return [f"{place}: not a {kind}"]
    fields = {name.removesuffix("!"): inner for name, inner in SCHEMA[kind].items()}
    required = [name[:-1] for name in SCHEMA[kind] if name.endswith("!")]
    errors = [f"{place}.{name}: missing" for name in required if name not in value]
    for name, part in value.items():
        errors += find_errors(part, fields[name], f"{place}.{name}") if name in fields else [f"{place}.{name}: unknown"]
    return errors


def get_cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"].get("jobTemplate", manifest["spec"])
    return spec.get("rayClusterSpec") or spec["rayClusterConfig"]


def get_pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = get_cluster(manifest)
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def count_gpus(group: dict[str, Any]) -> int:
    """GPUs of a worker group at its largest."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    return group["maxReplicas"] * limits.get("nvidia.com/gpu", 0)


@pytest.fixture(params=[name for name in MANIFESTS if name.startswith("ray")])
def manifest(request) -> dict[str, Any]:
    return load(request.param)


@pytest.mark.parametrize("name", MANIFESTS)
def test_fields_are_known(name: str) -> None:
    manifest = load(name)
    assert manifest["apiVersion"] == SCHEMA["Kinds"][manifest["kind"]]
    assert find_errors(manifest, manifest["kind"]) == []


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("spec", "ttlSecondAfterFinished"), 1, ".spec.ttlSecondAfterFinished: unknown"),
        (("spec", "backoffLimit"), "1", ".spec.backoffLimit: '1' is no integer"),
        (("spec", "submissionMode"), "K8sJob", "is not K8sJobMode|"),
        (("spec", "rayClusterSpec", "authOptions"), {"mode": "password"}, "'password' is not disabled|token"),
        (("spec", "rayClusterSpec", "headGroupSpec"), {}, ".headGroupSpec.template: missing"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}, "is no map"),
        (("spec", "rayClusterSpec", "workerGroupSpecs"), [{"groupName": "gpu"}], "[0].minReplicas: missing"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "volume"), [], ".volume: unknown"),
    ],
)
def test_broken_copy_fails(path: tuple[Any, ...], value: Any, error: str) -> None:
    manifest = copy.deepcopy(load("rayjob.yaml"))
    inner: Any = manifest
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    errors = find_errors(manifest, "RayJob")
    assert any(error in found for found in errors), errors


def test_every_night_is_the_one_night_again() -> None:
    once = load("rayjob.yaml")["spec"]
    del once["jobId"]
    assert load("raycronjob.yaml")["spec"]["jobTemplate"] == once


def test_entrypoint_runs_and_its_settings_exist() -> None:
    words = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2]) is not None
    config = load_config(str(ROOT / words[3].removeprefix("/app/")), words[4:])
    gpus = sum(map(count_gpus, get_cluster(load("rayjob.yaml"))["workerGroupSpecs"]))
    assert config.infer.use_gpu
    assert 1 <= config.infer.num_gpus <= gpus
    for place in (config.run_root, config.model.merged_dir, config.catalog.path, config.reviews.path, config.table_uri):
        assert place.startswith("s3://shop/")


def test_ids_carry_the_night() -> None:
    manifest = load("rayjob.yaml")
    assert manifest["metadata"]["name"] == manifest["spec"]["jobId"] == "enrich-NIGHT"
    name = manifest["metadata"]["name"].replace("NIGHT", "2026-11-22")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 47


def test_cluster_asks_for_a_token_and_scales_from_nothing(manifest: dict[str, Any]) -> None:
    cluster = get_cluster(manifest)
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in cluster["workerGroupSpecs"])
    assert {pod["restartPolicy"] for pod in get_pods(manifest) if "restartPolicy" in pod} <= {"Never"}


def test_versions_are_those_of_the_lock(manifest: dict[str, Any]) -> None:
    lock = (ROOT / "eshop_ray" / "environments" / "gpu.txt").read_text()
    assert f"\nray=={get_cluster(manifest)['rayVersion']}\n" in lock
    dockerfile = (FOLDER / "Dockerfile").read_text()
    for place in re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / place).exists()


def test_pods_share_no_disk_and_no_secret_is_written_down(manifest: dict[str, Any]) -> None:
    for pod in get_pods(manifest):
        assert "volumes" not in pod
        (container,) = pod["containers"]
        assert "volumeMounts" not in container
        assert container["envFrom"] == [{"secretRef": {"name": "eshop-secrets", "optional": True}}]
        assert not [entry for entry in container["env"] if re.search("KEY|TOKEN|SECRET", entry["name"])]


def test_pods_run_as_nobody_special(manifest: dict[str, Any]) -> None:
    for pod in get_pods(manifest):
        assert pod["securityContext"] == {
            "fsGroup": 1000,
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
    assert "useradd --create-home --uid 1000" in (FOLDER / "Dockerfile").read_text()


def test_strangers_reach_the_endpoint_only_and_prometheus_the_metrics() -> None:
    spec = load("networkpolicy.yaml")["spec"]
    assert spec["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in spec["ingress"])
    ports = [[port["port"] for port in rule.get("ports", [])] for rule in spec["ingress"]]
    assert ports == [[], [8000], [8080]]
    assert all("podSelector" in peer for rule in spec["ingress"][1:] for peer in rule["from"])


def test_service_is_what_the_job_writes_for_its_settings() -> None:
    from eshop_ray.serving.declared import declare

    stated = yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"])
    args = dict(stated["applications"][0]["args"])
    model = SharedFolder(args.pop("model_uri"), args.pop("model_digest"))
    args["serve"]["port"] = stated["http_options"]["port"]
    config = Config.model_validate({"name": "demo", **args})
    del args["serve"]["port"]
    assert declare(config, model, model.digest) == stated
    group = get_cluster(load("rayservice.yaml"))["workerGroupSpecs"][0]
    scaling = config.serve.deployment_config["autoscaling_config"]
    assert scaling["max_replicas"] <= group["maxReplicas"]
    assert config.serve.api_keys_env in (FOLDER / "rayservice.yaml").read_text()
    assert all(uri.startswith("s3://shop/") for uri in (model.uri, config.index_uri))


def test_volume_is_one_that_several_nodes_write_to() -> None:
    text, claim = (FOLDER / "volume.yaml").read_text(), load("volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert f"claimName: {claim['metadata']['name']}" in text


def test_proxies_filter_headers() -> None:
    environments = [
        {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        for pod in get_pods(load("rayservice.yaml"))
    ]
    assert [environment[VARIABLE] for environment in environments] == [CALLBACK] * 2
