"""Authlib: a client that authenticates with an assertion (private_key_jwt).

The JSON document on stdin is {"endpoint", "id", "key": a private RSA key in PEM, "certificate": PEM file, "resource"}
"""

import json
import sys

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT

given = json.loads(sys.stdin.readline())
session = OAuth2Session(given["id"], given["key"], scope="email", token_endpoint_auth_method="private_key_jwt")
session.register_client_auth_method(PrivateKeyJWT(given["endpoint"]))
session.verify = given["certificate"]
session.trust_env = False
session.fetch_token(given["endpoint"], grant_type="client_credentials")
print(json.dumps({"outcome": session.get(given["resource"]).status_code}), flush=True)
