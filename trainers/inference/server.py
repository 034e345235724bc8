"""A model behind the REST interface of TF Serving: images go as base64, answers come as JSON."""

import base64
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_vit.errors import UserError, reason
from keras_vit.export.answering import MAIN, SIGNATURE
from trainers.inference.predictor import Answers, Predictor, apart

TIMEOUT = 60.0  # seconds
URL = re.compile(r"(https?://[^/?#]+(?:/[^?#]*)?/v1/models/[^/:?#]+(?:/(?:versions|labels)/[^/:?#]+)?)(?::predict)?/?")


class ServerFailed(RuntimeError):
    """A server that could be reached, but is not, or not well, any longer."""

    exit_code = 1


class _Refused(Exception):
    """What the server said of a request whose content is the reason."""


def opened(url: str, flag: str, timeout: float = TIMEOUT) -> Predictor:
    """A served model that `trainers.export` wrote.

    Args:
        url: Address as http://host:8501/v1/models/NAME, with or without a version or label, or :predict, behind.
        flag: Flag that named it.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: if the URL has another form, nobody answers, or the model has other signatures than ours.
    """
    match = URL.fullmatch(url)
    if not match or not url.isascii():
        raise UserError(f"--{flag}={url}: expected the form http://host:8501/v1/models/NAME.")
    base = match[1]
    try:
        metadata = _request_json(f"{base}/metadata", None, timeout)
    except (ServerFailed, _Refused) as error:
        raise UserError(f"--{flag}={url}: {error}") from error
    classes = _classes(metadata)
    if classes is None:
        raise UserError(
            f"--{flag}={url}: the model has no signature {SIGNATURE} from `bytes` to `probabilities` or `features`; "
            "those that python -m trainers.export writes have it."
        )
    labels = [str(number) for number in range(classes)]

    def all_of(encoded: Sequence[bytes]) -> Answers:
        instances = [{"bytes": {"b64": base64.b64encode(image).decode()}} for image in encoded]
        request = {"signature_name": SIGNATURE, "instances": instances}
        return _answers(_request_json(f"{base}:predict", request, timeout), len(encoded), labels, base)

    output = MAIN[0] if classes else MAIN[1]
    return Predictor("TF Serving", output, labels, lambda encoded: apart(all_of, encoded, _Refused, str))


def _classes(metadata: Any) -> int | None:
    """How many the model answers for, 0 of one without a head; None if its signature is not ours."""
    try:
        signature = metadata["metadata"]["signature_def"]["signature_def"][SIGNATURE]
        inputs, outputs = set(signature["inputs"]), signature["outputs"]
        if inputs == {"bytes"} and "probabilities" in outputs:
            return int(outputs["probabilities"]["tensor_shape"]["dim"][-1]["size"])
        return 0 if inputs == {"bytes"} and "features" in outputs else None
    except (KeyError, TypeError, IndexError, ValueError):
        return None


def _answers(answer: Any, count: int, labels: list[str], base: str) -> Answers:
    """Raises ServerFailed if the answer is not one for so many images."""
    try:
        rows: list[Mapping] = answer["predictions"]
        answers: Answers = []
        for row in rows:
            answers.append(np.array(row[next(name for name in MAIN if name in row)], "float32"))
            if labels:
                for index, name in zip(row["top_indices"], row["top_labels"], strict=True):
                    labels[int(index)] = name
        if len(answers) == count and all(one.ndim == 1 for one in answers if isinstance(one, np.ndarray)):
            return answers
    except (KeyError, TypeError, IndexError, ValueError, StopIteration):
        pass
    raise ServerFailed(f"{base} gave an answer that is none for {count} images: {str(answer)[:200]}")


def _request_json(url: str, request: Any, timeout: float) -> Any:
    """The JSON that a URL answers.

    Raises:
        _Refused: with the server's reason, if the request's content is at fault.
        ServerFailed: if there is no answer, or another.
    """
    data = None if request is None else json.dumps(request).encode()
    http_request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(http_request, timeout=timeout) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        reason = _reason_in(error)
        if error.code in CONTENT:
            raise _Refused(reason) from None
        raise ServerFailed(f"{url} answered {error.code} {error.reason}: {reason}") from None
    except TimeoutError:
        raise ServerFailed(f"{url} did not answer within {timeout:g} s.") from None
    except (OSError, http.client.HTTPException) as error:
        what = getattr(error, "reason", None) or error
        if isinstance(what, TimeoutError):
            raise ServerFailed(f"{url} did not answer within {timeout:g} s.") from None
        raise ServerFailed(f"{url} cannot be reached: {getattr(what, 'strerror', None) or what}.") from None
    except ValueError:
        raise ServerFailed(f"{url} answered something that is not JSON; is it TF Serving's REST port?") from None


# Status of an answer that another request might not get: it is malformed, or too large.
CONTENT = (400, 413)


def _reason_in(error: urllib.error.HTTPError) -> str:
    """The message in the body of a refusal, in one line."""
    try:
        body = error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    try:
        message = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        message = body
    return reason(message) if message else error.reason
