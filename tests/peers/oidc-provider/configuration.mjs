// The library's configuration. Everything it would otherwise warn about as a
// development default is set here.

import { lookup } from 'node:dns';

import { Adapter } from './adapter.mjs';
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

export function configuration({
  store, keys, cookieKeys, web, accessTtl, refreshTtl, storageMs,
}) {
  return {
    adapter: (model) => new Adapter(model, store, storageMs),
    clients: [...clients, web],
    clientDefaults: { id_token_signed_response_alg: SIGNING_ALG },
    // By default the library takes a token for 15 seconds past its expiry.
    clockTolerance: 0,
    // Browsers keep a cookie with SameSite=None only if it is Secure, which
    // takes https.
    cookies: { keys: cookieKeys, long: { sameSite: 'lax' } },
    jwks: { keys },
    scopes: ['openid', 'offline_access', 'api'],
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name'],
    },
    // As most providers do: what a scope tells stands in the ID token.
    conformIdTokenClaims: false,
    // Any name is an account: tests make up as many as they like.
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => claimsOf(sub) }),
    // Also without offline_access, which the library takes away from a request
    // without prompt=consent. Such a refresh token ends with the session.
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    // `localhost` may mean ::1 first, where nothing listens.
    httpOptions: () => ({
      dnsLookup: (name, options, done) => lookup(name, { ...options, family: 4 }, done),
    }),
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
      // The login and consent pages that come with the library.
      devInteractions: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
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

async function claimsOf(sub) {
  return {
    sub, name: sub, email: `${sub}@example.com`, email_verified: true,
  };
}

// Anyone who knows a public client's id can call as that client.
function mayIntrospect(ctx, client, token) {
  return client.clientAuthMethod !== 'none' || client.clientId === token.clientId;
}
