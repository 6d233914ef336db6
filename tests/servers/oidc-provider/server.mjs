// oidc-provider with what the end-to-end tests and the tutorial need. `node server.mjs CONFIG` reads a JSON document:
//   {"port", "clients": [client metadata], "scopes": [names], "claims": {of every token}, "keys": [private JWKs]}
// The first key of an algorithm signs; without "keys", oidc-provider's own for development do. Tokens are kept in
// memory: a restart forgets them. A client that may use refresh tokens gets one with every code.
//
// Access tokens are opaque, but for those whose `resource` is https://api.test/ALG: these are JWTs, signed so.
// The development pages of oidc-provider log in anyone with any password.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import Provider from 'oidc-provider';

const RESOURCES = 'https://api.test/';

const config = JSON.parse(readFileSync(process.argv[2]));
const issuer = `http://127.0.0.1:${config.port}`;

function resourceServer(ctx, resource) {
  return {
    scope: config.scopes.join(' '),
    audience: resource,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: resource.slice(RESOURCES.length) } },
  };
}

function provider(keys) {
  return new Provider(issuer, {
    clients: config.clients,
    jwks: keys && { keys },
    cookies: { keys: ['only for tests'] },
    scopes: ['openid', 'offline_access', ...config.scopes],
    ttl: { AccessToken: 600, ClientCredentials: 600 },
    extraTokenClaims: (ctx, token) => ({
      username: token.accountId ?? token.clientId,
      ...config.claims,
    }),
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      resourceIndicators: { enabled: true, defaultResource: () => undefined, getResourceServerInfo: resourceServer },
      revocation: { enabled: true },
    },
  }).callback();
}

let handle = provider(config.keys);

async function serve(request, response) {
  // Ours, not oidc-provider's: replaces the keys of a test.
  if (config.keys && request.url === '/test/keys') {
    handle = provider(await json(request));
    response.writeHead(204).end();
  } else {
    handle(request, response);
  }
}

createServer(serve).listen(config.port, '127.0.0.1');
