// oauth4webapi: the same as grants_openid_client.mjs, step by step.

import * as oauth from "oauth4webapi";
import { approve, browse, fetchOverHttp2, main } from "./dialogue.mjs";

const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";

await main(async (given) => {
  const fetching = given.http2 ? { [oauth.customFetch]: fetchOverHttp2 } : {};
  const issuer = new URL(given.issuer);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...fetching });
  const as = await oauth.processDiscoveryResponse(issuer, found);
  const metadata = {
    client_name: "A client of oauth4webapi",
    redirect_uris: [given.redirect_uri],
    grant_types: ["authorization_code", "refresh_token", DEVICE],
    token_endpoint_auth_method: given.method,
    scope: "email",
  };
  const asked = { initialAccessToken: given.initial_access_token, ...fetching };
  const answered = await oauth.dynamicClientRegistrationRequest(as, metadata, asked);
  const registered = await oauth.processDynamicClientRegistrationResponse(answered);
  const client = { client_id: registered.client_id };
  const is_basic = given.method === "client_secret_basic";
  const own = is_basic ? oauth.ClientSecretBasic(registered.client_secret) : oauth.None();
  const DPoP = given.dpop ? oauth.DPoP(client, await oauth.generateKeyPair("ES256")) : undefined;
  const options = { DPoP, ...fetching };
  const get = async ({ access_token }) => {
    const resource = new URL(given.resource);
    return (await oauth.protectedResourceRequest(access_token, "GET", resource, undefined, undefined, options)).status;
  };

  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const request = {
    response_type: "code",
    redirect_uri: given.redirect_uri,
    scope: "email",
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
  const push = async () => {
    const pushing = await oauth.pushedAuthorizationRequest(as, client, own, request, options);
    return await oauth.processPushedAuthorizationResponse(as, client, pushing);
  };
  // A server that requires nonces gives one out with its refusal; the library leaves it to the client to try again.
  const again = (error) => (oauth.isDPoPNonceError(error) ? push() : Promise.reject(error));
  const { request_uri } = await push().catch(again);
  const address = new URL(as.authorization_endpoint);
  address.search = new URLSearchParams({ client_id: client.client_id, request_uri });
  const shown = [...address.searchParams.keys()].sort();
  const callback = oauth.validateAuthResponse(as, client, await browse(address), state);
  const exchanged =
    await oauth.authorizationCodeGrantRequest(as, client, own, callback, given.redirect_uri, verifier, options);
  const pushed = await oauth.processAuthorizationCodeResponse(as, client, exchanged);

  const announced = DPoP ? { dpop_jkt: await DPoP.calculateThumbprint() } : {};
  const beginning = await oauth.deviceAuthorizationRequest(as, client, own, { scope: "email", ...announced }, fetching);
  const begun = await oauth.processDeviceAuthorizationResponse(as, client, beginning);
  await approve(begun.user_code);
  const polled = await oauth.deviceCodeGrantRequest(as, client, own, begun.device_code, options);
  const device = await oauth.processDeviceCodeResponse(as, client, polled);
  const type = pushed.token_type.toLowerCase();
  return { shown, type, pushed: await get(pushed), device: await get(device), scope: registered.scope };
});
