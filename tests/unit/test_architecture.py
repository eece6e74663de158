"""The documents say what the code does: the key table, the settings, the commands."""

import json
from pathlib import Path

import msgspec

import icaze
from lua.keys import KEY_TABLE
from permits.messages import AuditBatch, AuditSettled, Cancellation, DeadLetter, InboundSms, Reply, SealedSms
from runtime.settings import described

ROOT = Path(__file__).parents[2]


def test_the_key_table_of_the_architecture_is_the_codes() -> None:
    section = (ROOT / "ARCHITECTURE.md").read_text().split("## Keys")[1].split("A record in")[0]
    told = [line for line in section.splitlines() if line.startswith("| `")]
    assert told == [
        f"| `{k.name}` | {k.type} | {k.writer} | {k.reader} | {k.ttl} | {k.grows_with} |" for k in KEY_TABLE
    ]


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in icaze.COMMANDS if f"`icaze {name}" not in readme] == []


def test_every_setting_is_in_the_settings_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = [f"| `{name}` | `{default}` | {meaning} |" for name, default, meaning in described()]
    assert [row for row in rows if row not in page] == []


def test_architecture_and_readme_stay_short() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 200
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_streams_page_has_the_schemas_of_the_messages() -> None:
    _, schemas = msgspec.json.schema_components(
        [SealedSms, InboundSms, Reply, AuditBatch, Cancellation, AuditSettled, DeadLetter],
        ref_template="#/components/schemas/{name}",
    )
    page = (ROOT / "docs" / "asyncapi.yaml").read_text()
    missing = [
        name for name, schema in schemas.items() if f"    {name}: {json.dumps(schema, ensure_ascii=False)}" not in page
    ]
    assert missing == []
