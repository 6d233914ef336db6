// openid-client: a client that registers itself (RFC 7591), gets a token with a pushed request (RFC 9126), and one as a
// device (RFC 8628), with proofs of its key if the server wants them (RFC 9449).
//
// Given: {"issuer", "redirect_uri", "resource": an API's address, "method", "initial_access_token", "dpop", "http2"}

import * as client from "openid-client";
import { approve, browse, fetchOverHttp2, main } from "./dialogue.mjs";

const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";

await main(async (given) => {
  const metadata = {
    client_name: "A client of openid-client",
    redirect_uris: [given.redirect_uri],
    grant_types: ["authorization_code", "refresh_token", DEVICE],
    token_endpoint_auth_method: given.method,
    scope: "email",
  };
  const authentication = given.method === "client_secret_basic" ? undefined : client.None();
  const options = { algorithm: "oauth2", initialAccessToken: given.initial_access_token };
  if (given.http2) options[client.customFetch] = fetchOverHttp2;
  let config = await client.dynamicClientRegistration(new URL(given.issuer), metadata, authentication, options);
  const registered = config.clientMetadata();
  if (given.method === "client_secret_basic") {
    // The library registers with post by default.
    const basic = client.ClientSecretBasic(registered.client_secret);
    const fetching = given.http2 ? { [client.customFetch]: fetchOverHttp2 } : {};
    config = new client.Configuration(config.serverMetadata(), registered.client_id, registered, basic);
    Object.assign(config, fetching);
  }
  const key = await client.randomDPoPKeyPair("ES256");
  const DPoP = given.dpop ? client.getDPoPHandle(config, key) : undefined;
  const get = async ({ access_token }) => {
    const resource = new URL(given.resource);
    return (await client.fetchProtectedResource(config, access_token, resource, "GET", null, undefined, { DPoP })).status;
  };

  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const parameters = {
    redirect_uri: given.redirect_uri,
    scope: "email",
    state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
  const address = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
  const shown = [...address.searchParams.keys()].sort();
  const checks = { pkceCodeVerifier: verifier, expectedState: state };
  const pushed = await client.authorizationCodeGrant(config, await browse(address), checks, undefined, { DPoP });

  // The library proves no key here; a device announces it.
  const announced = DPoP ? { dpop_jkt: await DPoP.calculateThumbprint() } : {};
  const begun = await client.initiateDeviceAuthorization(config, { scope: "email", ...announced });
  await approve(begun.user_code);
  const device = await client.pollDeviceAuthorizationGrant(config, begun, undefined, { DPoP });
  const type = pushed.token_type.toLowerCase();
  return { shown, type, pushed: await get(pushed), device: await get(device), scope: registered.scope };
});
