#!/usr/bin/env python3
"""Ask an AzureML web service for one answer (RRS) through a tollgate gateway. Python 3, standard library only.

Settings come from the environment; README.md lists them.
"""
import json
import os
import sys
import urllib.error
import urllib.request

TIMEOUT = 60  # seconds


def main():
    body = {
        "Inputs": {"input1": {"ColumnNames": ["Col2"], "Values": [["This is a good day"]]}},
        "GlobalParameters": {},
    }
    headers = {"Content-Type": "application/json", **key_header()}
    request = urllib.request.Request(
        service_url() + "/execute?api-version=2.0&details=true", json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            print(json.dumps(json.load(response), indent=2))
    except urllib.error.HTTPError as error:
        sys.exit(explain(error))
    except OSError as error:
        sys.exit(f"no answer: {error}")


def service_url():
    """The service's URL: behind the gateway's suffix, or the service itself when SUFFIX is empty."""
    suffix = os.environ.get("SUFFIX", "azureml-demo").strip("/")
    gateway = setting("GATEWAY").rstrip("/") + ("/" + suffix if suffix else "")
    return f"{gateway}/workspaces/{setting('WORKSPACE')}/services/{setting('SERVICE')}"


def key_header():
    """A subscription key for the gateway; the service's own key when there is no gateway."""
    if os.environ.get("SUFFIX", "azureml-demo").strip("/"):
        return {"Ocp-Apim-Subscription-Key": setting("KEY")}
    return {"Authorization": "Bearer " + setting("KEY")}


def setting(name):
    value = os.environ.get(name)
    if not value:
        sys.exit(f"set {name}; see README.md")
    return value


def explain(error):
    """Status, code and message of an error answer, in AzureML's form or the gateway's."""
    text = error.read().decode("utf-8", "replace")
    try:
        body = json.loads(text)
        details = body.get("error", body)
        code = details.get("code") or details.get("title")
        message = details.get("message") or details.get("detail") or ""
        for detail in details.get("details") or []:
            message += f" ({detail.get('code')}: {detail.get('message')})"
        text = f"{code}: {message}" if code else message or text
    except (ValueError, AttributeError):
        pass  # not JSON, or not an object: show it as it is
    retry = error.headers.get("Retry-After")
    return f"status {error.code}: {text}" + (f" Retry after {retry} s." if retry else "")


if __name__ == "__main__":
    main()
