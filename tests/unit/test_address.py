"""The store's URL: what it names, and what is said where it names nothing."""

from pathlib import Path

import pytest

from runtime import settings
from runtime.address import store_address, with_files
from runtime.connection import shown
from runtime.errors import StartupError


def test_sentinels_and_the_name_of_their_master() -> None:
    address = store_address("redis+sentinel://:pass@a:1,b:2,c/icaze")
    assert (address.kind, address.hosts, address.service) == ("sentinel", ("a:1", "b:2", "c:26379"), "icaze")
    assert address.of("d:3") == "redis://:pass@d:3/0"
    assert address.of_sentinel("a:1") == "redis://a:1"


def test_nodes_of_a_cluster_over_tls_with_a_user() -> None:
    address = store_address("rediss+cluster://api:s%40@a:1,[::1]:2?ssl_ca_certs=/ca.pem")
    assert (address.kind, address.hosts) == ("cluster", ("a:1", "[::1]:2"))
    assert address.of("b:7") == "rediss://api:s%40@b:7/0?ssl_ca_certs=/ca.pem"


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://:p@h", "unix:///run/store.sock?db=1"])
def test_one_server_stays_as_it_stands(url: str) -> None:
    assert (store_address(url).kind, store_address(url).url) == ("server", url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://a:1,b:2", "name of the master"),
        ("redis+sentinel:///icaze", "needs hosts"),
        ("redis+cluster://", "needs hosts"),
        ("redis+cluster://a:1/3", "no database"),
        ("redis+cluster://a:port", "'a:port' is no host:port"),
        ("redis+cluster://a:70000", "no host:port"),
        ("unix+cluster:///s", "redis_url"),
        ("http://a", "redis_url"),
        ("redis+replicas://a", "redis_url"),
    ],
)
def test_a_url_that_names_no_store_is_said_at_the_start(url: str, said: str) -> None:
    with pytest.raises(StartupError) as caught:
        settings.load({"ICAZE_REDIS_URL": url})
    assert said in str(caught.value)


def test_files_of_tls_go_into_the_url_once(tmp_path: Path) -> None:
    file = tmp_path / "ca of ours.pem"
    file.touch()
    environ = {"ICAZE_REDIS_URL": "rediss+cluster://a:1", "ICAZE_REDIS_CA_FILE": str(file)}
    once = settings.load(environ).redis_url
    assert once == f"rediss+cluster://a:1?ssl_ca_certs={str(file).replace(' ', '%20')}"
    assert settings.load({**environ, "ICAZE_REDIS_URL": once}).redis_url == once


@pytest.mark.parametrize(
    ("url", "files", "said"),
    [
        ("redis://a", {"CA": "here"}, "rediss://"),
        ("rediss://a", {"CA": "nowhere"}, "ICAZE_REDIS_CA_FILE=nowhere: No such file"),
        ("rediss://a", {"CERT": "here"}, "go together"),
    ],
)
def test_files_of_tls_that_cannot_serve_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, files: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").touch()
    with pytest.raises(StartupError) as caught:
        settings.load({"ICAZE_REDIS_URL": url, **{f"ICAZE_REDIS_{name}_FILE": path for name, path in files.items()}})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://u:pass@a:1,b:2/icaze", "redis+sentinel://u:***@a:1,b:2/icaze"),
        ("rediss+cluster://:p:s%40@a:1,[::1]:2", "rediss+cluster://:***@a:1,[::1]:2"),
        ("redis://[::1]:1/0", "redis://[::1]:1/0"),
        ("redis://u@a:1?x=:y@z", "redis://u@a:1?x=:y@z"),
        ("unix:///run/a:b@c.sock", "unix:///run/a:b@c.sock"),
        ("unix://:pass@/run/s.sock", "unix://:***@/run/s.sock"),
        ("unix:///s.sock?username=api&password=a:b@c&db=0", "unix:///s.sock?username=api&password=***&db=0"),
        ("rediss://u:p@h:1/0?ssl_password=x&password=y", "rediss://u:***@h:1/0?ssl_password=***&password=***"),
    ],
)
def test_a_password_is_not_shown_and_all_else_is(url: str, told: str) -> None:
    assert shown(url) == told


def test_files_of_tls_are_added_where_an_address_in_brackets_is_not_the_first() -> None:
    url = "rediss+cluster://a:1,[::1]:2"
    assert with_files(f"{url}?ssl_a=1", {"ssl_b": "/x y"}) == f"{url}?ssl_a=1&ssl_b=/x%20y"
