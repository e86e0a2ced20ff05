// A protected API, to spend access tokens on (RFC 6750).

import { createHash } from 'node:crypto';

import { createLocalJWKSet, jwtVerify } from 'jose';

import { API_RESOURCE } from './configuration.mjs';
import { BadRequest, readBody } from './http.mjs';

const INSUFFICIENT_SCOPE = {
  'WWW-Authenticate': 'Bearer error="insufficient_scope", scope="admin"',
};

export function apiRoutes({ server, counts }) {
  const counted = (handler) => async (req, url) => {
    const answer = await handler(req, url);
    counts.apiAnswer(answer[0]);
    return answer;
  };

  const authenticated = (handler) => counted(async (req) => {
    // Read before anything is decided, so that a refusal never comes while the
    // client is still sending.
    const body = await readBody(req);
    const token = bearerToken(req);
    if (token === undefined) return challenge();
    const sub = await subjectOf(token);
    if (sub === undefined) return challenge('the access token is unknown, expired or revoked');
    return [200, handler({ sub, token, body })];
  });

  async function subjectOf(value) {
    const token = await server.provider.AccessToken.find(value);
    if (token) return token.accountId;
    return jwtSubject(value);
  }

  // As any API does that trusts signatures: a JWT is good until it expires,
  // whatever has become of its grant.
  async function jwtSubject(value) {
    const expected = { issuer: server.provider.issuer, audience: API_RESOURCE, typ: 'at+jwt' };
    const keys = createLocalJWKSet(server.published);
    const verified = await jwtVerify(value, keys, expected).catch(() => undefined);
    return verified?.payload.sub;
  }

  return {
    'GET /api/me': authenticated(({ sub, token }) => ({
      sub,
      token_sha256: createHash('sha256').update(token).digest('hex'),
    })),
    'POST /api/echo': authenticated(({ sub, body }) => ({ sub, bytes: body.length })),
    'GET /api/forbidden': counted(() => [403, {}, INSUFFICIENT_SCOPE]),
    // Some servers get the status wrong: a new token would not help here.
    'GET /api/scope401': counted(() => [401, {}, INSUFFICIENT_SCOPE]),
    'GET /api/redirect': counted((req, url) => {
      const to = url.searchParams.get('to');
      if (!to) throw new BadRequest('"to" is missing');
      return [302, {}, { Location: to }];
    }),
  };
}

function bearerToken(req) {
  return /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
}

// Without a description: nothing was wrong with the token, there was none.
function challenge(description) {
  const error = description ? `, error="invalid_token", error_description="${description}"` : '';
  return [401, {}, { 'WWW-Authenticate': `Bearer realm="api"${error}` }];
}
