"""Settings: environment over file, and what does not fit is named."""

from pathlib import Path

import pytest

from runtime import settings
from runtime.connection import shown
from runtime.errors import StartupError
from runtime.settings import Settings


def test_without_anything_the_defaults_hold() -> None:
    assert settings.load({}) == Settings()


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "icaze.toml"
    file.write_text('ingest_port = 9001\napi_port = 9002\nmemory_limit = 0.5\ndurability = "memory"\n')
    loaded = settings.load({"ICAZE_CONFIG": str(file), "ICAZE_API_PORT": "0"})
    assert (loaded.ingest_port, loaded.api_port, loaded.memory_limit) == (9001, 0, 0.5)
    assert loaded.durability == "memory"


def test_an_empty_variable_is_a_value() -> None:
    assert settings.load({"ICAZE_REDIS_URL": ""}).redis_url == ""
    with pytest.raises(StartupError, match="ingest_port"):
        settings.load({"ICAZE_INGEST_PORT": ""})


def test_other_variables_are_not_ours() -> None:
    assert settings.load({"ICAZE_SUPERVISED": "1", "HOME": "/root", "ingest_port": "1"}) == Settings()


@pytest.mark.parametrize("text", ["1", "true", "True"])
def test_a_switch_is_turned_on_by_word_or_number(text: str) -> None:
    assert settings.load({"ICAZE_DEV_ISSUER": text}).dev_issuer


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("INGEST_PORT", "65536", "<= 65535"),
        ("INGEST_PORT", "http", "Expected `int`"),
        ("PARTITIONS", "0", ">= 1"),
        ("DURABILITY", "everysec", "everysec"),
        ("OPERATOR", "smpp", "smpp"),
        ("MEMORY_LIMIT", "1.5", "<= 1"),
        ("MEMORY_LIMIT", "nan", "memory_limit"),
        ("OPERATOR_RATE", "0", "> 0"),
        ("BATCH", "513", "<= 512"),
        ("LEASE_MS", "500", ">= 2000"),
        ("DRAIN_S", "-1", ">= 0"),
        ("DEV_ISSUER", "maybe", "bool"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, text: str, said: str) -> None:
    with pytest.raises(StartupError, match="settings: ") as caught:
        settings.load({f"ICAZE_{name}": text})
    assert said in str(caught.value)
    assert name.lower() in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"partition = 64", "unknown field `partition`"),
        (b"[ingest]\nport = 1", "unknown field `ingest`"),
        (b"ingest_port =", "ICAZE_CONFIG="),
        (b"\xff\xfe", "ICAZE_CONFIG="),
        (b"partitions = []", "partitions"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "icaze.toml"
    file.write_bytes(text)
    with pytest.raises(StartupError) as caught:
        settings.load({"ICAZE_CONFIG": str(file)})
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(StartupError, match=r"/nowhere/icaze\.toml"):
        settings.load({"ICAZE_CONFIG": "/nowhere/icaze.toml"})


def test_every_setting_is_described_with_its_variable_default_and_meaning() -> None:
    rows = settings.described()
    assert [name for name, _, _ in rows] == [f"ICAZE_{field.upper()}" for field in Settings.__struct_fields__]
    assert all(meaning for _, _, meaning in rows), [name for name, _, meaning in rows if not meaning]


def test_every_default_as_described_can_be_set() -> None:
    assert settings.load({name: default for name, default, _ in settings.described()}) == Settings()


def test_a_store_address_without_a_scheme_is_named() -> None:
    with pytest.raises(StartupError, match="redis_url"):
        settings.load({"ICAZE_REDIS_URL": "localhost:6379"})


def test_a_store_address_is_printed_without_its_password() -> None:
    assert shown("redis://user:secret@store:6379/0") == "redis://user:***@store:6379/0"
    assert shown("unix:///run/store.sock") == "unix:///run/store.sock"
