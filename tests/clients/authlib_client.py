"""Authlib as a client of a gateway: every grant, a refresh, and a resource, as JSON on stdout.

Reads one JSON document from stdin:
  {"base": the protected API's address, "certificate": PEM file, "client_id", "client_secret",
   "callback": the address the browser was sent back to, "state", "code_verifier",
   "username": the resource owner, "provision_key": for the password grant}
"""

import json
import sys

from authlib.integrations.requests_client import OAuth2Session


def session(given, method):
    made = OAuth2Session(
        given["client_id"],
        given["client_secret"],
        scope="email",
        state=given["state"],
        redirect_uri=given["redirect_uri"],
        token_endpoint=given["base"] + "/oauth2/token",
        token_endpoint_auth_method=method,
    )
    made.verify = given["certificate"]
    made.trust_env = False
    return made


def use(client, given):
    response = client.get(given["base"] + "/things")
    return {"status": response.status_code, "headers": response.json()["headers"]}


def main():
    given = json.load(sys.stdin)
    token_endpoint = given["base"] + "/oauth2/token"
    outcome = {}

    client = session(given, "client_secret_basic")
    client.fetch_token(
        token_endpoint,
        authorization_response=given["callback"],
        code_verifier=given["code_verifier"],
    )
    outcome["authorization_code"] = use(client, given)
    before = client.token["access_token"]
    client.refresh_token(token_endpoint)
    assert client.token["access_token"] != before
    outcome["refresh_token"] = use(client, given)

    client = session(given, "client_secret_post")
    client.fetch_token(token_endpoint, grant_type="client_credentials")
    outcome["client_credentials"] = use(client, given)

    client = session(given, "client_secret_post")
    client.fetch_token(
        token_endpoint,
        grant_type="password",
        username=given["username"],
        password="trusted",
        authenticated_userid=given["username"],
        provision_key=given["provision_key"],
    )
    outcome["password"] = use(client, given)

    json.dump(outcome, sys.stdout)


main()
