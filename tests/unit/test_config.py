"""Settings: every preset loads, overrides are checked, values survive the file."""

import dataclasses
import re

import pytest

from avatar.base.errors import ConfigError
from avatar.config import Config, list_presets, load_preset, merge, read_config, validate, write_config
from avatar.config.reading import numbers as limited

ABLATIONS = {"no_gate", "no_codes", "no_coarse_to_fine", "no_flame_warp", "no_vertex_loss", "mlp"}


def test_every_preset_loads():
    names = set(list_presets())
    assert {"cpu", "fast", "paper"} | {f"ablations/{name}" for name in ABLATIONS} <= names
    for name in names:
        assert load_preset(name).preset == name


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_an_ablation_differs_from_its_base(name):
    base, ablation = (dataclasses.asdict(load_preset(n)) for n in ("cpu", f"ablations/{name}"))
    base.pop("preset"), ablation.pop("preset")
    assert base != ablation


def test_paper_preset_is_the_papers_network():
    field = load_preset("paper").field
    assert (field.hidden_layers, field.width, field.skip) == (8, 256, 4)
    assert (field.position_bands, field.direction_bands, field.deformation.code_size) == (10, 4, 8)
    assert not field.warp.enabled
    assert field.canonical == "mlp"
    assert field.expression_size == 50


def test_a_file_of_settings_may_start_from_a_preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: fast\nbackends: {encoding: torch}\n")
    expected = load_preset("fast")
    expected.backends.encoding = "torch"
    assert read_config(path) == expected
    path.write_text("base: quick\n")
    with pytest.raises(ConfigError, match="unknown preset"):
        read_config(path)


def test_a_config_survives_its_file(tmp_path):
    config = load_preset("paper")
    config.training.network_rate = 1.25e-4
    assert read_config(write_config(tmp_path / "config.yaml", config)) == config


def test_merge_does_not_change_the_original():
    config = Config()
    changed = merge(config, {"field": {"hash": {"levels": 3}}}, where="here")
    assert changed.field.hash.levels == 3
    assert config.field.hash.levels == Config().field.hash.levels


def test_scientific_notation_without_a_dot_is_a_number(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {network_rate: 1e-3, minutes: 2}\n")
    training = read_config(path).training
    assert training.network_rate == 0.001
    assert training.minutes == 2.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("training: {stpes: 3}", "training.stpes"),
        ("fields: {}", "fields"),
        ("training: {steps: many}", "training.steps"),
        ("training: {steps: 1.5}", "training.steps"),
        ("training: {steps: true}", "training.steps"),
        ("field: {gate: 1}", "field.gate"),
        ("field: {canonical: magic}", "field.canonical"),
        ("field: 3", "field"),
        ("render: {step: -0.1}", "render.step"),
        ("backends: {encoding: cublas}", "backends.encoding"),
        ("backends: {rasterising: torch}", "backends.rasterising"),
        ("{field: {canonical: mlp}, backends: {encoding: tcnn}}", "backends.encoding"),
        ("training: {mouth_share: 0.8, eye_share: 0.3}", "mouth_share"),
        ("- a\n- b", "mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, named):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")) as error:
        read_config(path)
    assert str(path) in str(error.value)


def numbers(config, prefix=""):
    """The settings that are numbers: name and type."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{prefix}{field.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + field.name, type(value)


def test_every_number_has_limits():
    assert {name for name, _ in numbers(Config())} == {name for name, *_ in limited(Config())}


@pytest.mark.parametrize(("name", "kind"), list(numbers(Config())))
def test_numbers_beyond_their_limits_are_refused(tmp_path, name, kind):
    path = tmp_path / "c.yaml"
    beyond = ["-1", "1000000000000", "9" * 400]
    for value in beyond + ([".nan", ".inf", "-.inf", "1e400"] if kind is float else []):
        inner = f"{name.rsplit('.', 1)[1]}: {value}"
        for section in reversed(name.split(".")[:-1]):
            inner = f"{section}: {{{inner}}}"
        path.write_text(inner)
        with pytest.raises(ConfigError, match=f"{re.escape(name)} is out of range") as caught:
            read_config(path)
        assert "what to do" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "field: {hash: {levels: 32, log2_entries: 24}}",
        "field: {bank: {tables: 64, log2_entries: 24}}",
        "field: {hash: {base_resolution: 64, finest_resolution: 32}}",
        "training: {seed: " + "9" * 5000 + "}",
        "[" * 5000,
    ],
)
def test_settings_too_large_together_or_to_be_read(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        read_config(tmp_path / "c.yaml")


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="cpu, fast, paper"):
        load_preset("turbo")


def test_validate_refuses_what_cannot_work():
    config = Config()
    config.training.final_rate = 0.0
    with pytest.raises(ConfigError, match="final_rate"):
        validate(config)


def test_every_setting_has_a_help_text():
    """tyro shows the docstring under a field as its help."""
    import ast
    import inspect

    import avatar.config

    for node in ast.parse(inspect.getsource(avatar.config)).body:
        if not (isinstance(node, ast.ClassDef) and node.decorator_list):
            continue
        for entry, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(entry, ast.AnnAssign) or ast.unparse(entry.annotation).endswith("Config"):
                continue
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert documented, f"{node.name}.{entry.target.id}"
