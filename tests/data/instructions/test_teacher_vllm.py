"""The default model as a teacher, in the pipeline: most of what it writes is no use, and the card says how much."""

import pytest

from eshop_ray.config import Config
from eshop_ray.jobs import build_instructions as job
from tests.data.instructions.test_build_instructions import read_card, read_rows, write_shop


@pytest.mark.slow  # the route has fast tests, and vLLM too
@pytest.mark.usefixtures("ray_session", "starts_vllm")
def test_what_a_small_model_writes_is_filtered_and_counted(tmp_path):
    write_shop(tmp_path)
    subtasks = ("title_generation", "category_classification")
    recipe = {
        "sources": {"shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"}},
        "subtasks": [{"name": name, "source": "shop"} for name in subtasks],
        "teacher": {
            "written": dict.fromkeys(subtasks, 8),
            "reasoned": {"category_classification": 4},
            "translated": {"category_classification": 4},
            "languages": ["de", "fr"],
            "max_tokens": 160,
        },
    }
    values = {"name": "taught", "run_root": str(tmp_path), "data": {"root": str(tmp_path)}}
    infer = {"cpu_kvcache_gib": 1, "compile": False, "engine_kwargs": {"max_model_len": 2048}}
    config = Config.model_validate({**values, "instructions": recipe, "infer": infer})
    job.run(config)
    told = read_card(config)["teacher"]
    assert told["name"].startswith("smollm2-135m-instruct@")
    assert told["num_asked"] == 2 * 16 + 8 + 8 == told["num_kept"] + sum(told["num_removed"].values())
    assert told["kept_share"] == told["num_kept"] / told["num_asked"]
    assert "the teacher gave no answer" not in told["num_removed"]
    assert told["num_removed"]
    assert sum(row["teacher"] is not None for row in read_rows(config)) == told["num_kept"]
    print(told)
