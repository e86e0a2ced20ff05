// The library's configuration. Everything it would otherwise warn about as a
// development default is set here.

import { randomBytes } from 'node:crypto';

import { Adapter, Store } from './adapter.mjs';
import { clients } from './clients.mjs';
import { SIGNING_ALG } from './keys.mjs';

const DAY = 24 * 60 * 60;

// The one protected API that access tokens in JWT format are made for.
export const API_RESOURCE = 'https://api.example/';

export const apiResourceServer = {
  audience: API_RESOURCE,
  scope: 'api',
  accessTokenFormat: 'jwt',
  jwt: { sign: { alg: SIGNING_ALG } },
};

export function configuration(key, { accessTtl, refreshTtl }) {
  const store = new Store();
  return {
    adapter: (model) => new Adapter(model, store),
    clients,
    clientDefaults: { id_token_signed_response_alg: SIGNING_ALG },
    // By default the library takes a token for 15 seconds past its expiry.
    clockTolerance: 0,
    cookies: { keys: [randomBytes(32).toString('hex')] },
    jwks: key.jwks,
    scopes: ['openid', 'offline_access', 'api'],
    // Any name is an account: tests make up as many as they like.
    findAccount: (ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: accessTtl,
      RefreshToken: refreshTtl,
      // Each rotation starts the refresh token's life anew, so the grant must
      // outlast any number of them.
      Grant: 365 * DAY,
      IdToken: 60 * 60,
      Interaction: 60 * 60,
      Session: DAY,
    },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      revocation: { enabled: true },
      introspection: { enabled: true, allowedPolicy: mayIntrospect },
      resourceIndicators: {
        enabled: true,
        // A refresh stays with the resource the grant was made for without the
        // client having to name it again.
        useGrantedResource: () => true,
        getResourceServerInfo: () => apiResourceServer,
      },
    },
  };
}

// Anyone who knows a public client's id can call as that client.
function mayIntrospect(ctx, client, token) {
  return client.clientAuthMethod !== 'none' || client.clientId === token.clientId;
}
