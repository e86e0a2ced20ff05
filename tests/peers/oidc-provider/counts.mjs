// What happened, as the server saw it.

import { ALREADY_USED } from './adapter.mjs';

export class Counts {
  #counts;

  // The library may announce the revocation of one grant more than once.
  #revokedGrants;

  constructor() {
    this.reset();
  }

  reset() {
    this.#revokedGrants = new Set();
    this.#counts = {
      refresh_ok: 0,
      refresh_failed: 0,
      reuse_detected: 0,
      refresh_ok_by_account: {},
      token_requests: 0,
      token_auth: { basic: 0, post: 0, jwt: 0, none: 0 },
      redirects_followed: 0,
      api: { 200: 0, 401: 0 },
    };
  }

  toJSON() {
    return { ...this.#counts, grants_revoked: this.#revokedGrants.size };
  }

  listenTo(provider) {
    provider.on('grant.success', (ctx) => {
      if (!isRefresh(ctx)) return;
      this.#counts.refresh_ok += 1;
      increment(this.#counts.refresh_ok_by_account, ctx.oidc.account.accountId);
    });
    provider.on('grant.error', (ctx, error) => {
      if (!isRefresh(ctx)) return;
      this.#counts.refresh_failed += 1;
      // Thrown by the library, or by our adapter in its place.
      if (error.error_detail === ALREADY_USED) {
        this.#counts.reuse_detected += 1;
        this.grantRevoked(ctx.oidc.refreshToken.grantId);
      }
    });
    provider.on('grant.revoked', (ctx, grantId) => this.grantRevoked(grantId));
    // Not one of the faults a test asks for: it must not go unseen.
    provider.on('server_error', (ctx, error) => console.error(ctx.method, ctx.path, error));
  }

  grantRevoked(grantId) {
    this.#revokedGrants.add(grantId);
  }

  tokenRequest() {
    this.#counts.token_requests += 1;
  }

  tokenAuth(ctx) {
    increment(this.#counts.token_auth, authMethod(ctx));
  }

  redirectFollowed() {
    this.#counts.redirects_followed += 1;
  }

  apiAnswer(status) {
    increment(this.#counts.api, status);
  }
}

function isRefresh(ctx) {
  return ctx.oidc.params?.grant_type === 'refresh_token';
}

// How the client sent its secret. The library takes "basic" and "post" for one
// another whatever the client is registered for, so a test has to look here.
function authMethod(ctx) {
  if (ctx.get('authorization')) return 'basic';
  if (ctx.oidc.params?.client_assertion !== undefined) return 'jwt';
  return ctx.oidc.params?.client_secret === undefined ? 'none' : 'post';
}

function increment(counts, name) {
  counts[name] = (counts[name] ?? 0) + 1;
}
