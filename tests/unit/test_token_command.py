"""`icaze token`: each role's scopes and claims, and the flags that do not fit."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt

from api import dev_issuer, token_command
from api.auth import SealMethod, need_seal
from runtime.settings import Settings


def ask(*words: str) -> int:
    parser = ArgumentParser()
    token_command.configure(parser)
    return token_command.run(parser.parse_args(words))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICAZE_DATA_DIR", str(tmp_path))
    return tmp_path


def printed_claims(data: Path, token: str) -> dict[str, Any]:
    key = dev_issuer.key_pair(Settings(data_dir=str(data)))
    return jwt.decode(token, key, algorithms=["Ed25519"]).claims


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        ("mygov", "status"),
        ("police", "checks"),
        ("officer", "permits.cancel permits.extend"),
        ("staff", "monitor lists histories"),
        ("health", "lists"),
        ("regime", "regime"),
        ("policy", "policy"),
        ("citizen", "me"),
    ],
)
def test_each_role_has_its_scopes(data: Path, capsys: pytest.CaptureFixture[str], role: str, scope: str) -> None:
    assert ask("--role", role) == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["scope"], body["sub"], "tin" in body) == (scope, f"dev-{role}", False)
    assert body["exp"] - body["iat"] == 3600


def test_an_organisation_s_token_carries_its_tax_number(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "organisation", "--tin", "1234567890", "--subject", "aysel") == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["scope"], body["sub"], body["tin"]) == ("organisation", "aysel", "1234567890")


@pytest.mark.parametrize(("word", "method"), [("imza", "asan_imza"), ("esign", "e_signature")])
async def test_a_person_under_seal_has_proven_who_they_are(
    data: Path, capsys: pytest.CaptureFixture[str], word: str, method: SealMethod
) -> None:
    assert ask("--role", "organisation", "--tin", "1234567890", "--fin", "5ab12cd", "--acr", word) == 0
    verify = dev_issuer.verifier(dev_issuer.key_pair(Settings(data_dir=str(data))), lambda: time.time_ns() // 1_000_000)
    caller = await verify(capsys.readouterr().out.strip())
    assert (caller.tin, caller.fin, caller.method) == ("1234567890", "5AB12CD", method)
    assert need_seal(caller) == method


def test_a_delegate_s_token_carries_no_tax_number(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "organisation", "--fin", "5AB12CD") == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["fin"], "tin" in body, "acr" in body) == ("5AB12CD", False, False)


def test_a_citizen_s_token_carries_all_their_documents(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "citizen", "--fin", "5AB12CD", "--document", "aze 1111111", "--document", "AA7654321") == 0
    body = printed_claims(data, capsys.readouterr().out.strip())
    assert (body["fin"], body["documents"]) == ("5AB12CD", ["AZE1111111", "AA7654321"])


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "words",
    [
        ("--role", "organisation"),
        ("--role", "organisation", "--acr", "imza"),
        ("--role", "organisation", "--fin", "5AB12CD", "--document", "AZE1111111"),
        ("--role", "mygov", "--tin", "1234567890"),
        ("--role", "police", "--fin", "5AB12CD"),
        ("--role", "citizen", "--fin", "5AB12CD", "--tin", "1234567890"),
        ("--role", "citizen", "--fin", "5AB12CD", "--acr", "imza"),
    ],
)
def test_flags_go_with_their_roles(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert ask(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("icaze token: ")


def test_json_tells_token_expiry_and_scope(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--role", "mygov", "--minutes", "5", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"token", "expires_at", "scope"}
    body = printed_claims(data, answer["token"])
    assert body["exp"] - body["iat"] == 300
    assert answer["scope"] == "status"


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "words",
    [
        ("--minutes", "5"),
        ("--role", "king"),
        ("--role", "mygov", "--minutes", "0"),
        ("--role", "organisation", "--tin", "123456789"),
        ("--role", "organisation", "--tin", "１２３４５６７８９０"),
        ("--role", "citizen", "--fin", "IO00000"),
        ("--role", "citizen", "--document", "nonsense"),
        ("--role", "organisation", "--tin", "1234567890", "--acr", "otp"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        ask(*words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err


def test_a_broken_key_file_is_one_line_and_exit_1(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "keys").mkdir()
    (data / "keys" / "dev-issuer.jwk").write_text("{}")
    assert ask("--role", "mygov") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("icaze token: ")
    assert said.err.count("\n") == 1
