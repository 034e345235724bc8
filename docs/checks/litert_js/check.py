"""Runs a .tflite of batch 1 by LiteRT.js in headless Chromium, and compares its answers with its Keras model's.

python docs/checks/litert_js/check.py EXPORT/model_float32.tflite RUN/model.keras node_modules

LiteRT.js takes no free sizes: export with --tflite_image_size. Prints the largest difference of a probability. See
README.md beside it for what to install.
"""

import argparse
import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_vit  # noqa: F401, for keras.models.load_model
from keras_vit.images import transform

IMAGES = 5
PAGE = pathlib.Path(__file__).with_name("page.html")
TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


def main(arguments: list[str]) -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("tflite", type=pathlib.Path)
    flags.add_argument("keras", type=pathlib.Path)
    flags.add_argument("node_modules", type=pathlib.Path)
    flags.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    given = flags.parse_args(arguments)
    if given.browser is None:
        flags.error("needs Chromium: apt-get install chromium, or --browser=")
    model = keras.models.load_model(given.keras)
    (details,) = Interpreter(str(given.tflite)).get_input_details()
    if min(details["shape_signature"]) < 1:
        flags.error(
            f"{given.tflite} takes images of any size; LiteRT.js does not. Export with --tflite_image_size=HxW."
        )
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *details["shape"]), "uint8")
    told = asked(given, images)
    if "error" in told:
        print(f"LiteRT.js: {told['error']}")
        return 1
    fed = tf.stack([transform.apply(image[0], model.preprocessing) for image in images])
    expected = tf.nn.softmax(model(fed)).numpy()
    print(f"largest difference of a probability: {np.abs(np.array(told['answers']) - expected).max():.1e}")
    return 0


def asked(given: argparse.Namespace, images: np.ndarray) -> dict:
    """What the page says: `answers`, or an `error`."""
    sent = [{"pixels": image.ravel().tolist(), "shape": image.shape} for image in images]
    files = {
        "/page.html": PAGE.read_bytes(),
        "/model.tflite": given.tflite.read_bytes(),
        "/images.json": json.dumps(sent).encode(),
    }
    told: dict = {}
    done = threading.Event()
    handler = functools.partial(Handler, files, given.node_modules, told, done)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [given.browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--no-first-run", f"http://127.0.0.1:{server.server_port}/page.html"]
        with subprocess.Popen([*command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            if not done.wait(180):
                told["error"] = "no answer within 3 minutes"
            browser.terminate()
        server.shutdown()
    return told


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, files, packages, told, done, *others):
        self._files, self._packages, self._told, self._done = files, packages.resolve(), told, done
        super().__init__(*others)

    def do_GET(self):
        content = self._files.get(self.path)
        path = (self._packages / self.path.removeprefix("/packages/")).resolve()
        if content is None and path.is_relative_to(self._packages) and path.is_file():
            content = path.read_bytes()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", TYPES.get(pathlib.Path(self.path).suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def do_POST(self):
        self._told.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        self._done.set()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
