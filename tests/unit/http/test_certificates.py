"""Which authorities clients trust, and where these come from."""

import ssl
from pathlib import Path

import certifi
import pytest
import trustme

from monitor.errors import StartError
from monitor.http.certificates import Authorities


class Store:
    """A system's certificates: a file and a folder, as OpenSSL would look for them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.folder = folder / "cert.pem", folder / "certs"
        self.folder.mkdir()
        self.usual = ssl.get_default_verify_paths()._replace(
            openssl_cafile=str(self.file), openssl_capath=str(self.folder)
        )

    def hashed(self, folder: Path | None = None) -> Path:
        """Put an authority into a folder as `openssl rehash` links it, under some hash."""
        folder = folder or self.folder
        folder.mkdir(exist_ok=True)
        authority(folder / "5ad8a5d6.0")
        return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty one."""
    return Store(tmp_path)


def authority(file: Path) -> Path:
    """Write the certificate of a new authority, in place of what was there; return its file."""
    trustme.CA().cert_pem.write_to_path(file)
    return file


def trusted(context: ssl.SSLContext) -> int:
    """Return how many authorities a context has loaded; those of folders are looked up as needed."""
    return context.cert_store_stats()["x509_ca"]


def test_systems_authorities_are_what_openssl_finds() -> None:
    """Without a variable, this machine's own; a certificate that certifi has and it lacks is not trusted."""
    ours = {cert["serialNumber"] for cert in Authorities().context().get_ca_certs()}
    usual = ssl.create_default_context()
    assert ours == {cert["serialNumber"] for cert in usual.get_ca_certs()}


def test_systems_file_and_folder_are_both_used(store: Store) -> None:
    """As OpenSSL does; what can be given only one of them gets the file."""
    authority(store.file)
    store.hashed()
    authorities = Authorities({}, store.usual)
    assert trusted(authorities.context()) == 1
    assert authorities.path() == str(store.file)
    assert authorities.warnings == []


def test_folder_alone_is_enough(store: Store) -> None:
    """Some systems have no file."""
    store.hashed()
    authorities = Authorities({}, store.usual)
    assert trusted(authorities.context()) == 0
    assert authorities.path() == str(store.folder)
    assert authorities.warnings == []


@pytest.mark.parametrize("state", ["missing", "empty", "garbage"])
def test_system_without_certificates_gets_those_of_certifi_with_a_warning(store: Store, state: str) -> None:
    """A folder that is there but holds nothing that OpenSSL would find counts as none."""
    if state == "missing":
        store.folder.rmdir()
    elif state == "garbage":
        store.file.write_text("no certificate")
        (store.folder / "README").write_text("no certificate")
    authorities = Authorities({}, store.usual)
    assert trusted(authorities.context()) == trusted(ssl.create_default_context(cafile=certifi.where()))
    assert authorities.path() == certifi.where()
    [warning] = authorities.warnings
    for word in (str(store.file), str(store.folder), "certifi", "SSL_CERT_FILE"):
        assert word in warning


def test_ssl_cert_file_takes_the_place_of_the_systems_file(store: Store, tmp_path: Path) -> None:
    """The system's own is not read then."""
    store.file.write_text("no certificate")
    mine = authority(tmp_path / "mine.pem")
    authorities = Authorities({"SSL_CERT_FILE": str(mine)}, store.usual)
    assert trusted(authorities.context()) == 1
    assert authorities.path() == str(mine)
    assert authorities.warnings == []


def test_ssl_cert_dir_takes_the_place_of_the_systems_folder(store: Store, tmp_path: Path) -> None:
    """It may list several, of which some may be missing; the one that is there is used."""
    authority(store.file)
    mine = store.hashed(tmp_path / "mine")
    authorities = Authorities({"SSL_CERT_DIR": f"{tmp_path}/none:{mine}"}, store.usual)
    assert authorities.path() == str(mine)
    assert authorities.warnings == []


@pytest.mark.parametrize("state", ["missing", "folder", "garbage", "empty"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_variable_that_names_nothing_usable_is_a_start_error(
    store: Store, tmp_path: Path, variable: str, state: str
) -> None:
    """It names the variable, even where the system has certificates of its own."""
    authority(store.file)
    store.hashed()
    given = tmp_path / "given"
    if state == "folder":
        given.mkdir()
    elif state != "missing":
        given.write_text("no certificate" if state == "garbage" else "")
    with pytest.raises(StartError, match=f"^{variable}: "):
        Authorities({variable: str(given)}, store.usual)


def test_ca_file_takes_the_place_of_the_systems(store: Store, tmp_path: Path) -> None:
    """It is not added to them."""
    authority(store.file)
    own = authority(tmp_path / "own.pem")
    authorities = Authorities({}, store.usual)
    assert [cert["serialNumber"] for cert in authorities.context(own).get_ca_certs()] != [
        cert["serialNumber"] for cert in authorities.context().get_ca_certs()
    ]
    assert trusted(authorities.context(own)) == 1
    assert authorities.path(own) == str(own)


@pytest.mark.parametrize("state", ["missing", "folder", "garbage"])
def test_ca_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, state: str) -> None:
    """At the start, not at the first request."""
    file = tmp_path / "own.pem"
    if state == "folder":
        file.mkdir()
    elif state == "garbage":
        file.write_text("no certificate")
    with pytest.raises(StartError, match=r"own\.pem"):
        Authorities().context(file)


def test_authorities_are_read_once_and_again_when_they_change(store: Store, tmp_path: Path) -> None:
    """All clients share what is read, as that takes a while."""
    authority(store.file)
    own = authority(tmp_path / "own.pem")
    authorities = Authorities({}, store.usual)
    for file, ca_file in ((store.file, None), (own, own)):
        before, stamp = authorities.context(ca_file), authorities.stamp(ca_file)
        assert authorities.context(ca_file) is before
        assert authorities.stamp(ca_file) == stamp
        authority(file.with_suffix(".new")).replace(file)
        assert authorities.stamp(ca_file) != stamp
        assert authorities.context(ca_file) is not before
        assert trusted(authorities.context(ca_file)) == 1
