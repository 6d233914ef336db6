"""Authlib and requests-oauthlib: discovery, PKCE code flow, refresh, introspection as a resource server, revocation.

One JSON document per line on stdin and stdout; the first one given is
  {"library": "authlib" | "requests-oauthlib", "issuer", "redirect_uri", "method": "basic" | "post",
   "client": {"id", "secret"}, "resource_server": {"id", "secret"}, "resource": an API's address, "certificate": PEM file}
"""

import json
import sys

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session


def say(document):
    print(json.dumps(document), flush=True)


def hear():
    return json.loads(sys.stdin.readline())


def browse(url):
    say({"browse": url})
    return hear()["callback"]


def discovered(given):
    response = requests.get(get_well_known_url(given["issuer"], external=True), verify=given["certificate"])
    response.raise_for_status()
    metadata = AuthorizationServerMetadata(response.json())
    metadata.validate()
    assert metadata["issuer"] == given["issuer"]
    return metadata


def authlib_session(given, client, **more):
    session = AuthlibSession(
        client["id"],
        client["secret"],
        token_endpoint_auth_method="client_secret_" + given["method"],
        revocation_endpoint_auth_method="client_secret_" + given["method"],
        **more,
    )
    session.verify = given["certificate"]
    session.trust_env = False
    return session


def with_authlib(given, metadata):
    session = authlib_session(
        given, given["client"], scope="email", redirect_uri=given["redirect_uri"], code_challenge_method="S256"
    )
    verifier = generate_token(48)
    address, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    callback = browse(address)
    session.fetch_token(
        metadata["token_endpoint"], authorization_response=callback, state=state, code_verifier=verifier
    )
    session.refresh_token(metadata["token_endpoint"])

    def revoke():
        refresh_token = session.token["refresh_token"]
        response = session.revoke_token(metadata["revocation_endpoint"], refresh_token, "refresh_token")
        assert response.status_code == 200

    return session.token["access_token"], revoke


def with_requests_oauthlib(given, metadata):
    client = given["client"]
    session = OAuth2Session(client["id"], scope=["email"], redirect_uri=given["redirect_uri"], pkce="S256")
    session.verify = given["certificate"]
    session.trust_env = False
    address, state = session.authorization_url(metadata["authorization_endpoint"])
    if given["method"] == "basic":
        how = {"auth": HTTPBasicAuth(client["id"], client["secret"])}
    else:
        how = {"client_secret": client["secret"], "include_client_id": True}
    session.fetch_token(metadata["token_endpoint"], authorization_response=browse(address), state=state, **how)
    more = how if given["method"] == "basic" else {"client_id": client["id"], "client_secret": client["secret"]}
    session.refresh_token(metadata["token_endpoint"], **more)

    def revoke():
        refresh_token = session.token["refresh_token"]
        url, headers, body = session._client.prepare_token_revocation_request(
            metadata["revocation_endpoint"], refresh_token, "refresh_token"
        )
        response = requests.post(
            url,
            data=body,
            headers=headers,
            auth=HTTPBasicAuth(client["id"], client["secret"]),
            verify=given["certificate"],
        )
        assert response.status_code == 200

    return session.token["access_token"], revoke


def main():
    given = hear()
    metadata = discovered(given)
    library = with_authlib if given["library"] == "authlib" else with_requests_oauthlib
    access_token, revoke = library(given, metadata)
    server = authlib_session(given, given["resource_server"])

    def seen():
        authorization = {"authorization": "Bearer " + access_token}
        status = requests.get(given["resource"], headers=authorization, verify=given["certificate"]).status_code
        response = server.introspect_token(metadata["introspection_endpoint"], access_token)
        return [status, response.json()["active"]]

    before = seen()
    revoke()
    say({"outcome": {"before": before, "after": seen()}})


main()
