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
      authorizations: 0,
      authorizations_denied: 0,
      code_ok: 0,
      code_failed: 0,
      code_replayed: 0,
      userinfo: 0,
      logouts: 0,
      backchannel_ok: 0,
      backchannel_failed: 0,
      api: { 200: 0, 401: 0 },
    };
  }

  toJSON() {
    return { ...this.#counts, grants_revoked: this.#revokedGrants.size };
  }

  listenTo(provider) {
    const count = (name) => () => { this.#counts[name] += 1; };
    provider.on('grant.success', (ctx) => {
      if (isCode(ctx)) this.#counts.code_ok += 1;
      if (!isRefresh(ctx)) return;
      this.#counts.refresh_ok += 1;
      increment(this.#counts.refresh_ok_by_account, ctx.oidc.account.accountId);
    });
    provider.on('grant.error', (ctx, error) => {
      // Thrown by the library, or by our adapter in its place.
      if (error.revoked) this.grantRevoked(error.revoked);
      const { error_detail: detail } = error;
      if (isCode(ctx)) {
        this.#counts.code_failed += 1;
        if (detail === ALREADY_USED.AuthorizationCode) this.#counts.code_replayed += 1;
      } else if (isRefresh(ctx)) {
        this.#counts.refresh_failed += 1;
        if (detail === ALREADY_USED.RefreshToken) this.#counts.reuse_detected += 1;
      }
    });
    provider.on('grant.revoked', (ctx, grantId) => this.grantRevoked(grantId));
    provider.on('authorization.success', count('authorizations'));
    provider.on('authorization.error', (ctx, error) => {
      if (error.error === 'access_denied') this.#counts.authorizations_denied += 1;
    });
    provider.on('end_session.success', count('logouts'));
    provider.on('backchannel.success', count('backchannel_ok'));
    provider.on('backchannel.error', count('backchannel_failed'));
    provider.use(async (ctx, next) => {
      await next();
      if (ctx.path === '/me' && ctx.status === 200) this.#counts.userinfo += 1;
    });
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

  backchannel({ logged_out: ok, failed }) {
    this.#counts.backchannel_ok += ok;
    this.#counts.backchannel_failed += failed.length;
  }

  apiAnswer(status) {
    increment(this.#counts.api, status);
  }
}

function isCode(ctx) {
  return ctx.oidc.params?.grant_type === 'authorization_code';
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
