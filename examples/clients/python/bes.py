#!/usr/bin/env python3
"""Run a batch job (BES) of an AzureML web service through a tollgate gateway. Python 3, standard library only.

Uploads a CSV, submits and starts a job, asks for its status each second, downloads the result and deletes the job.
Settings come from the environment; README.md lists them. The job's submit body carries the storage account's key, as AzureML's
interface has it: use an account for this purpose.
"""
import base64
import email.utils
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from rrs import TIMEOUT, explain, key_header, service_url, setting

SAMPLE = b"Col2\nThis is a good day\nI loved this book\n"
# AzureML accepts and may send either the name or the number of a state.
STATES = {0: "NotStarted", 1: "Running", 2: "Failed", 3: "Cancelled", 4: "Finished"}


def main():
    connection = setting("BLOB_CONNECTION")
    container = os.environ.get("CONTAINER") or "azureml"
    name = uuid.uuid4().hex
    data = SAMPLE
    if os.environ.get("INPUT"):
        with open(os.environ["INPUT"], "rb") as file:
            data = file.read()
    storage = Storage(connection)
    storage.create_container(container)
    storage.put(f"{container}/{name}-in.csv", data)

    job_id = submit(connection, f"/{container}/{name}-in.csv", f"/{container}/{name}-out.csv")
    print("submitted job", job_id)
    failure = None
    try:
        call("POST", f"/jobs/{job_id}/start", b"")
        save(wait(job_id), os.environ.get("OUTPUT") or "result.csv")
    except (SystemExit, KeyboardInterrupt) as error:
        failure = error
    try:  # whatever happened, leave no job behind
        call("DELETE", f"/jobs/{job_id}")
        print("deleted job", job_id)
    except SystemExit as error:
        print("job not deleted:", error, file=sys.stderr)
        failure = failure or error
    if failure:
        raise failure


def submit(connection, source, target):
    body = {
        "Input": {"ConnectionString": connection, "RelativeLocation": source},
        "Outputs": {"output1": {"ConnectionString": connection, "RelativeLocation": target}},
        "GlobalParameters": {},
    }
    return json.loads(call("POST", "/jobs", json.dumps(body).encode()))


def wait(job_id):
    """Ask each second until the job has ended; return its results."""
    while True:
        status = json.loads(call("GET", f"/jobs/{job_id}"))
        state = STATES.get(status["StatusCode"], status["StatusCode"])
        print("job is", state)
        if state == "Finished":
            return status["Results"]
        if state in ("Failed", "Cancelled"):
            sys.exit(f"job {state.lower()}: {status['Details']}")
        time.sleep(1)


def save(results, path):
    """A result's URL is its three parts in a row; it needs no key."""
    result = results["output1"]
    url = result["BaseLocation"] + result["RelativeLocation"] + result["SasBlobToken"]
    with open(path, "wb") as file:
        file.write(send(urllib.request.Request(url)))
    print("wrote", path)


def call(method, path, body=None):
    headers = key_header()
    if body:
        headers["Content-Type"] = "application/json"
    elif method == "POST":
        headers["Content-Length"] = "0"
    return send(urllib.request.Request(service_url() + path + "?api-version=2.0", body, headers, method=method))


def send(request):
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        sys.exit(explain(error))
    except OSError as error:
        sys.exit(f"no answer: {error}")


class Storage:
    """As much of Azure Blob Storage as an upload takes: two calls, signed with the account's key (SharedKey)."""

    VERSION = "2021-08-06"

    def __init__(self, connection):
        fields = dict(part.split("=", 1) for part in connection.strip(";").split(";"))
        self.account = fields["AccountName"]
        self.key = base64.b64decode(fields["AccountKey"])
        self.url = (fields.get("BlobEndpoint") or "{}://{}.blob.{}".format(
            fields.get("DefaultEndpointsProtocol", "https"), self.account,
            fields.get("EndpointSuffix", "core.windows.net"))).rstrip("/")

    def create_container(self, name):
        request = self.request(name, b"", {}, {"restype": "container"})
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:  # 409: it is there already
                sys.exit(f"creating container {name}: status {error.code}")
        except OSError as error:
            sys.exit(f"no answer from the storage account: {error}")

    def put(self, path, data):
        request = self.request(path, data, {"x-ms-blob-type": "BlockBlob", "Content-Type": "text/csv"}, {})
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            sys.exit(f"uploading {path}: status {error.code}")
        except OSError as error:
            sys.exit(f"no answer from the storage account: {error}")

    def request(self, path, data, headers, query):
        """A PUT with its Authorization: "Authorize with Shared Key" in the storage documentation."""
        headers = {
            "Content-Type": "application/octet-stream",  # else urllib adds one that is not signed
            **headers,
            "x-ms-date": email.utils.formatdate(usegmt=True),
            "x-ms-version": self.VERSION,
            "Content-Length": str(len(data)),
        }
        url = self.url + "/" + urllib.parse.quote(path)
        canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        resource = "/" + self.account + urllib.parse.urlsplit(url).path
        resource += "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        # Method, Content-Encoding, -Language, -Length (empty when 0), -MD5, -Type, Date, four If-*, Range.
        text = "\n".join(["PUT", "", "", str(len(data) or ""), "", headers["Content-Type"], "", "", "", "", "", ""])
        text += "\n" + canonical + resource
        signature = base64.b64encode(hmac.new(self.key, text.encode(), hashlib.sha256).digest()).decode()
        headers["Authorization"] = f"SharedKey {self.account}:{signature}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        return urllib.request.Request(url, data, headers, method="PUT")


if __name__ == "__main__":
    main()
