"""Models as far as their chat templates."""

import shutil

import pytest

from eshop_ray.models import load_tokenizer


@pytest.fixture
def make_model(tiny_model_dir, tmp_path):
    """Return a function that makes a model folder with a template, as far as no weights are needed."""

    def make(template):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_model_dir, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "chat_template.jinja").write_text(template)
        load_tokenizer.cache_clear()
        return folder

    return make
