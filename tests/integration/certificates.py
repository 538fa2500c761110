"""A certificate that has expired."""

import os
import subprocess
import tempfile

CONFIG = """[ca]
default_ca = it
[it]
database = {0}/index
new_certs_dir = {0}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def sign_expired(csr, ca, key, out, extensions=None):
    """Sign what was good for a day, long ago. "openssl x509" can only begin today, and OpenSSL 3.5 refuses -days -1."""
    with tempfile.TemporaryDirectory() as temp:
        with open(f"{temp}/config", "w", encoding="ascii") as handle:
            handle.write(CONFIG.format(temp))
        with open(f"{temp}/index", "w", encoding="ascii"):
            pass
        subprocess.run(["openssl", "ca", "-batch", "-notext", "-config", f"{temp}/config", "-in", csr, "-cert", ca, "-keyfile",
                        key, "-out", out, "-startdate", "20200101000000Z", "-enddate", "20200102000000Z",
                        *(["-extfile", os.path.abspath(extensions)] if extensions else [])], check=True, capture_output=True)
