"""Published weights by name, without a network."""

import http.server
import json
import os
import pathlib
import sys
import threading

import oracle
import pytest

from keras_vit import weights
from keras_vit.errors import MissingPackage
from keras_vit.variants import count_params, parse
from keras_vit.weights import InvalidWeights, published


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def downloads(monkeypatch, home):
    """URLs that were downloaded; each gives a tiny model."""
    urls = []

    def get_file(name, url, cache_dir, cache_subdir):
        urls.append(url)
        place = pathlib.Path(cache_dir, cache_subdir, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        npz = "bit_resnet.npz" if name.startswith("BiT-") else "vit_token.npz"
        source = oracle.FIXTURES / (npz if place.suffix == ".npz" else f"hf_vit/{name}")
        place.write_bytes(source.read_bytes() if source.is_file() else b"{}")
        return str(place)

    monkeypatch.setattr(published.keras.utils, "get_file", get_file)
    return urls


def test_names_lead_to_files_that_are_downloaded_once(downloads, monkeypatch):
    name = "augreg:B/16"
    monkeypatch.setitem(published.PUBLISHED, name, published.PUBLISHED[name]._replace(size=0.1))
    assert weights.load(name).architecture.width == 48
    assert weights.load(name).architecture.depth == 3
    assert downloads == [published.PUBLISHED[name].url]


def test_a_file_that_is_too_small_is_refused(downloads):
    with pytest.raises(InvalidWeights, match=r"0\.\d MiB, but google:ViT-B_16 has 393\.7; remove it"):
        weights.load("google:ViT-B_16")


FILES = {path.name: path.read_bytes() for path in (oracle.FIXTURES / "hf_vit").iterdir()}
COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """Two repositories of the hub, as its client asks for them: google/vit-tiny, and one that not everybody may see."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        name = path.rsplit("/", 1)[1]
        if path.startswith("/api/models/google/vit-gated"):
            self._answer(b"", 403, {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/google/vit-tiny/tree/"):
            tree = [{"type": "file", "path": file, "oid": "1" * 40, "size": len(FILES[file])} for file in FILES]
            self._answer(json.dumps(tree).encode())
        elif path.startswith("/api/models/google/vit-tiny"):
            siblings = [{"rfilename": file} for file in FILES]
            self._answer(json.dumps({"id": "google/vit-tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith("/google/vit-tiny/resolve/") and name in FILES:
            self._answer(FILES[name], headers={"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            self._answer(b"", 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _answer(self, data, code=200, headers=None):
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="pip install -e '.[hub]'")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server
        server.shutdown()


def test_repositories_of_the_hub_are_folders_that_its_own_client_keeps(hub, tmp_path):
    assert weights.load("hf:google/vit-tiny").architecture.heads == 4
    files = {path.name for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert files >= {"model.safetensors", "config.json"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:google/vit-none", "RepositoryNotFoundError"),
        ("hf:google/vit-gated", "GatedRepoError"),
        ("timm:vit", "timm/vit"),
    ],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(hub, name, said):
    with pytest.raises(InvalidWeights, match="by other means, and name the folder") as caught:
        weights.load(name)
    assert said in str(caught.value) and f"https://huggingface.co/{'timm/' * name.startswith('timm')}" in str(
        caught.value
    )


def test_without_its_client_the_hub_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackage, match=r"hf:google/vit-tiny needs huggingface_hub.*keras_vit\[hub\]"):
        weights.load("hf:google/vit-tiny")


def test_without_a_network_the_error_says_what_to_put_where(monkeypatch, home):
    def fails(*args, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr(published.keras.utils, "get_file", fails)
    with pytest.raises(InvalidWeights) as caught:
        weights.load("google:ViT-B_16")
    place = home / "keras_vit" / "imagenet21k" / "ViT-B_16.npz"
    assert "https://" in str(caught.value) and str(place) in str(caught.value)


def test_what_was_put_there_by_hand_is_taken(home, monkeypatch):
    row = published.PUBLISHED["google:ViT-B_16"]
    monkeypatch.setitem(published.PUBLISHED, "google:ViT-B_16", row._replace(size=0.1))
    place = home / "keras_vit" / "imagenet21k" / "ViT-B_16.npz"
    place.parent.mkdir(parents=True)
    place.write_bytes((oracle.FIXTURES / "vit_token.npz").read_bytes())
    assert weights.load("google:ViT-B_16").architecture.width == 48


@pytest.mark.parametrize("name", ["google:ViT-X", "augreg:B_16", "hf:nobody", "timm:../x"])
def test_unknown_names_are_refused(name):
    with pytest.raises(InvalidWeights, match=r"Published ones are|expected hf:OWNER/NAME"):
        weights.load(name)


def test_files_may_be_called_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(oracle.FIXTURES / "vit_token.npz", tmp_path / "google:own")
    assert published.located("google:own") == "google:own"


def test_sizes_are_those_of_the_models():
    """Four bytes for each parameter, by the formulas; listings in GiB are rounded to the second digit."""
    for name, row in published.PUBLISHED.items():
        slots = 3 if name == "sam:ViT-S_16" else 1
        assert row.size == pytest.approx(slots * expected_size(name, row), rel=6e-3), name


def expected_size(name, row):
    """In MiB."""
    variant = published_variant(row.url)
    if name.startswith("bigvision:"):
        extra = {"pool": "gap", "position": "sincos2d", "representation": 384}
    elif name.startswith("google:") and row.classes == 21843:
        extra = {"representation": parse(variant).width}
    else:
        extra = {}
    return count_params(parse(variant, image_size=row.resolution, num_classes=row.classes, **extra)) * 4 / 2**20


def published_variant(url):
    """The variant in a file's name: `ViT-B_16.npz`, `R50+ViT-B_16.npz`, `R50_L_32-i21k-...`, `BiT-M-R50x1.npz`."""
    stem = url.rsplit("/", 1)[1].removesuffix(".npz").replace("ViT-", "")
    if stem.startswith("BiT-"):
        return f"BiT-{stem.split('-')[2]}"
    if stem.startswith("vit_s16"):
        return "S/16"
    *stem_of_hybrid, size, patch = stem.split("-")[0].replace("+", "_").split("_")
    return "+".join([*stem_of_hybrid, f"{size}/{patch}"])


def test_bit_models_have_the_size_of_images_that_their_accuracy_was_measured_with(downloads, monkeypatch):
    name = "bit:M-R50x1+imagenet2012"
    monkeypatch.setitem(published.PUBLISHED, name, published.PUBLISHED[name]._replace(size=0.1))
    assert weights.load(name).architecture.image_size == 448
    assert weights.load(name, image_size=64).architecture.image_size == 64


def test_the_listing_has_a_line_for_each():
    lines = published.listing().splitlines()
    assert len(lines) == len(published.PUBLISHED) + 2
    assert any("augreg:B/16+imagenet2012" in line and "85.49" in line for line in lines)
