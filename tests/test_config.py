from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from eshop_ray.config import Config, load_config, write_config
from eshop_ray.config.sections import Section
from eshop_ray.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "eshop_ray" / "configs").glob("*.yaml"))


def write(tmp_path, text="name: x\n"):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return str(path)


def refuse(tmp_path, text="name: x\n", *overrides):
    with pytest.raises(UserError) as refused:
        load_config(write(tmp_path, text), overrides)
    return str(refused.value)


def sections(section=Config):
    yield section
    for inner in section.__subclasses__() if section is Section else ():
        yield from sections(inner)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load(path):
    assert load_config(str(path)).name == path.stem


@pytest.mark.parametrize("section", Section.__subclasses__(), ids=lambda section: section.__name__)
def test_every_field_is_documented(section):
    assert section.__doc__
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        assert field.description or is_section, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ntrain: {num_epoch: 2}", "unknown key `train.num_epoch`; did you mean `train.num_epochs`?"),
        ("name: x\ntrian: {num_epochs: 2}", "unknown key `trian`; did you mean `train`?"),
        (
            "name: x\ndata: {sources: [{fromat: queryner, format: queryner, path: a}]}",
            "unknown key `data.sources.0.fromat`; did you mean `data.sources.format`?",
        ),
        ("train: {num_epochs: 2}", "`name`: Field required"),
        ("name: x\ntrain: {num_epochs: two}", "`train.num_epochs`: Input should be a valid integer"),
        ("name: x\ntrain: {num_epochs: 0}", "`train.num_epochs`: Input should be greater than or equal to 1"),
        ("name: x\ndata: {eval_share: 1.5}", "`data.eval_share`"),
        ("name: [", "not valid YAML"),
        ("- name", "expected sections such as `data:` and `train:`, found list"),
        ("", "found NoneType"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    assert message in refuse(tmp_path, text)


def test_all_mistakes_at_once(tmp_path):
    message = refuse(tmp_path, "name: x\nseeds: 1\ntrain: {num_epochs: two}")
    assert "`seeds`" in message
    assert "`train.num_epochs`" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.num_epochs", "write it as section.field=value"),
        ("name.first=x", "`name` is a value, not a section"),
        ("name=[", "the value is not valid YAML"),
        ("train.epochs=2", "unknown key `train.epochs`; did you mean `train.num_epochs`?"),
    ],
)
def test_bad_overrides(tmp_path, override, message):
    assert message in refuse(tmp_path, "name: x\n", override)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match="Is a directory"):
        load_config(str(tmp_path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"binary\.yaml: not valid YAML"):
        load_config(str(tmp_path / "binary.yaml"))


def test_overrides_win_over_the_file(tmp_path):
    path = write(tmp_path, "name: x\ntrain: {num_epochs: 2, learning_rate: 0.1}\n")
    config = load_config(path, ["train.num_epochs=3", "infer.engine_kwargs.max_model_len=512", "data.tasks=[ner]"])
    assert (config.train.num_epochs, config.train.learning_rate) == (3, 0.1)
    assert config.infer.engine_kwargs == {"max_model_len": 512}
    assert config.data.tasks == ("ner",)


def test_config_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Config(name="x").train.num_epochs = 3


def test_written_config_is_the_resolved_one(tmp_path):
    config = load_config(write(tmp_path), [f"run_root={tmp_path}", "train.num_epochs=3", "model.source=môdel"])
    write_config(config)
    written = tmp_path / "x" / "config.yaml"
    assert load_config(str(written)) == config
    assert yaml.safe_load(written.read_text())["lora"]["r"] == config.lora.r
    assert list(written.parent.iterdir()) == [written]


def test_run_directory_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"run directory .*/file/x: Not a directory; set `run_root`"):
        write_config(Config(name="x", run_root=str(tmp_path / "file")))
