// The library behind its endpoints, and the adapter beneath it.

import assert from 'node:assert/strict';

import { createRemoteJWKSet, jwtVerify } from 'jose';

import {
  SCOPE, check, counts, countsInclude, faults, held, introspect, meStatus, mint, peer, refreshed,
  refused,
} from './bench.mjs';

await check('discovery names the library\'s endpoints', async () => {
  const { body } = await peer.get('/.well-known/openid-configuration');
  assert.equal(body.issuer, peer.issuer);
  assert.equal(body.token_endpoint, `${peer.issuer}/token`);
  assert.equal(body.revocation_endpoint, `${peer.issuer}/token/revocation`);
  assert.equal(body.introspection_endpoint, `${peer.issuer}/token/introspection`);
  assert.equal(body.jwks_uri, `${peer.issuer}/jwks`);
});

await check('a minted grant is an RFC 6749 answer', async () => {
  const { access_token: access, refresh_token: refresh, grant_id: id, ...rest } = await mint();
  assert.deepEqual(rest, { expires_in: 60, token_type: 'Bearer', scope: SCOPE });
  for (const value of [access, refresh, id]) assert.match(value, /^[\w-]{20,}$/);
  assert.equal(await meStatus(access), 200);
});

await check('mistakes in minting are told', async () => {
  const post = async (fields) => (await peer.post('/test/grants', fields)).status;
  assert.equal(await post({ client_id: 'nobody', account: 'alice' }), 400);
  assert.equal(await post({ account: 'alice' }), 400);
  assert.equal(await post({ client_id: 'basic' }), 400);
  assert.equal(await post({ client_id: 'basic', account: 'alice', format: 'xml' }), 400);
});

await check('a refresh rotates both tokens', async () => {
  const first = await mint();
  const second = await refreshed(first.refresh_token);
  assert.notEqual(second.access_token, first.access_token);
  assert.notEqual(second.refresh_token, first.refresh_token);
  assert.equal(second.expires_in, 60);
  assert.equal(second.token_type, 'Bearer');
  assert.equal(second.scope, SCOPE);
  assert.equal(await meStatus(second.access_token), 200);
  // The library lets the former access token live until it expires.
  assert.equal(await meStatus(first.access_token), 200);
  await refreshed(second.refresh_token);
  await countsInclude({
    refresh_ok: 2, refresh_failed: 0, reuse_detected: 0, grants_revoked: 0, token_requests: 2,
    refresh_ok_by_account: { alice: 2 },
  });
});

await check('a refresh may narrow the scope but not widen it', async () => {
  const { refresh_token: refresh } = await mint({ scope: 'openid api' });
  const wide = await peer.form('/token', {
    grant_type: 'refresh_token', refresh_token: refresh, scope: 'openid api offline_access',
  });
  assert.deepEqual([wide.status, wide.body.error], [400, 'invalid_scope']);
  const narrow = await peer.form('/token', {
    grant_type: 'refresh_token', refresh_token: refresh, scope: 'api',
  });
  assert.deepEqual([narrow.status, narrow.body.scope], [200, 'api']);
});

await check('each client authenticates in its own way', async () => {
  for (const client of ['basic', 'odd:id', 'post', 'public']) {
    const { refresh_token: refresh } = await mint({ client_id: client });
    await refreshed(refresh, client);
  }
  await countsInclude({ refresh_ok: 4, token_auth: { basic: 2, post: 1, jwt: 0, none: 1 } });
});

await check('basic credentials must be form-encoded', async () => {
  const { refresh_token: refresh } = await mint({ client_id: 'odd:id' });
  const answer = await peer.form(
    '/token',
    { grant_type: 'refresh_token', refresh_token: refresh },
    { authorization: `Basic ${Buffer.from('odd:id:a b+c%2Fd&e=f').toString('base64')}` },
  );
  assert.equal(answer.status, 401);
  assert.equal(answer.body.error, 'invalid_client');
});

await check('a wrong secret is a failed refresh that spends nothing', async () => {
  const { refresh_token: refresh } = await mint();
  const answer = await peer.form(
    '/token',
    { grant_type: 'refresh_token', refresh_token: refresh },
    { authorization: `Basic ${Buffer.from('basic:wrong').toString('base64')}` },
  );
  assert.equal(answer.status, 401);
  assert.equal(answer.body.error, 'invalid_client');
  assert.match(answer.headers['www-authenticate'], /^Basic /);
  await countsInclude({ refresh_failed: 1 });
  await refreshed(refresh);
});

await check('another client\'s refresh token is refused', async () => {
  const { refresh_token: refresh } = await mint({ client_id: 'post' });
  await refused(refresh);
  await countsInclude({ refresh_failed: 1, reuse_detected: 0, grants_revoked: 0 });
  await refreshed(refresh, 'post');
});

await check('an unknown grant type is no failed refresh', async () => {
  const answer = await peer.form('/token', { grant_type: 'password' });
  assert.equal(answer.body.error, 'unsupported_grant_type');
  await countsInclude({ token_requests: 1, refresh_failed: 0 });
});

await check('reuse of a spent refresh token revokes the whole grant', async () => {
  const first = await mint();
  const second = await refreshed(first.refresh_token);
  await refused(first.refresh_token);
  await countsInclude({ refresh_ok: 1, refresh_failed: 1, reuse_detected: 1, grants_revoked: 1 });
  assert.equal(await meStatus(first.access_token), 401);
  assert.equal(await meStatus(second.access_token), 401);
  await refused(second.refresh_token);
  // The library has forgotten the spent token along with its grant.
  await refused(first.refresh_token);
  await countsInclude({ refresh_failed: 3, reuse_detected: 1, grants_revoked: 1 });
});

await check('of simultaneous refreshes one is answered, and the grant revoked', async () => {
  const ROUNDS = 50;
  const AT_ONCE = 3;
  await faults({ hold_ms: -1 });
  for (let round = 1; round <= ROUNDS; round += 1) {
    const { refresh_token: refresh } = await mint();
    const racing = Array.from({ length: AT_ONCE }, () => peer.refresh(refresh));
    await held(AT_ONCE);
    await peer.post('/test/release');
    const answers = await Promise.all(racing);
    const winners = answers.filter(({ status }) => status === 200);
    const losers = answers.filter(({ body }) => body.error === 'invalid_grant');
    assert.equal(winners.length, 1, JSON.stringify(answers));
    assert.equal(losers.length, AT_ONCE - 1, JSON.stringify(answers));
    const { reuse_detected: reuse, ...rest } = await counts();
    assert.ok(reuse >= round, `${reuse} in round ${round}`);
    assert.equal(rest.grants_revoked, round);
    assert.equal(await meStatus(winners[0].body.access_token), 401);
    assert.equal((await introspect(winners[0].body.refresh_token)).active, false);
  }
});

await check('refreshes of different grants do not disturb each other', async () => {
  const accounts = Array.from({ length: 40 }, (_, i) => `a${i}`);
  const minted = await Promise.all(accounts.map((account) => mint({ account })));
  await Promise.all(minted.map(({ refresh_token: refresh }) => refreshed(refresh)));
  await countsInclude({ refresh_ok: 40, refresh_failed: 0, reuse_detected: 0 });
  assert.equal((await counts()).refresh_ok_by_account.a39, 1);
});

await check('more tokens are kept than the library\'s own adapter would', async () => {
  const { refresh_token: refresh } = await mint();
  for (let i = 0; i < 1100; i += 1) await mint({ account: 'crowd' });
  await refreshed(refresh);
});

await check('revoking a refresh token revokes its grant', async () => {
  const { access_token: access, refresh_token: refresh } = await mint();
  const answer = await peer.form('/token/revocation', { token: refresh });
  assert.equal(answer.status, 200);
  assert.equal(await meStatus(access), 401);
  await refused(refresh);
  await countsInclude({ grants_revoked: 1, reuse_detected: 0 });
});

await check('revoking an access token leaves the grant', async () => {
  const { access_token: access, refresh_token: refresh } = await mint();
  assert.equal((await peer.form('/token/revocation', { token: access })).status, 200);
  assert.equal(await meStatus(access), 401);
  await refreshed(refresh);
  await countsInclude({ grants_revoked: 0 });
});

await check('introspection tells live from dead', async () => {
  const { access_token: access, refresh_token: refresh } = await mint();
  const live = await introspect(access);
  assert.equal(live.active, true);
  assert.equal(live.sub, 'alice');
  assert.equal(live.exp - live.iat, 60);
  assert.equal((await introspect(refresh)).active, true);
  assert.equal((await introspect('nonsense')).active, false);
});

await check('jwt access tokens are signed by the published key', async () => {
  const first = await mint({ format: 'jwt' });
  const second = await refreshed(first.refresh_token);
  const keys = createRemoteJWKSet(new URL('/jwks', peer.issuer));
  for (const { access_token: token, scope } of [first, second]) {
    const { payload } = await jwtVerify(token, keys, { issuer: peer.issuer, typ: 'at+jwt' });
    assert.equal(payload.sub, 'alice');
    assert.equal(payload.exp - payload.iat, 60);
    assert.equal(scope, 'api');
    assert.equal(payload.scope, 'api');
    assert.equal(await meStatus(token), 200);
  }
  assert.equal(await meStatus(`${second.access_token.slice(0, -4)}AAAA`), 401);
});

await check('an opaque grant gets opaque access tokens', async () => {
  const second = await refreshed((await mint({ format: 'opaque' })).refresh_token);
  assert.ok(!second.access_token.includes('.'));
});
