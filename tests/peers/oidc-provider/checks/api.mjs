// The protected API.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

import { check, countsInclude, mint, peer } from './bench.mjs';

await check('the API tells whose token it was given', async () => {
  const { access_token: access } = await mint();
  const { status, body } = await peer.get('/api/me', access);
  assert.equal(status, 200);
  assert.deepEqual(body, {
    sub: 'alice',
    token_sha256: createHash('sha256').update(access).digest('hex'),
  });
});

await check('the API challenges with an error only if there was a token', async () => {
  const without = await peer.get('/api/me');
  assert.equal(without.status, 401);
  assert.equal(without.headers['www-authenticate'], 'Bearer realm="api"');
  const wrong = await peer.get('/api/me', 'nonsense');
  assert.equal(wrong.status, 401);
  assert.match(
    wrong.headers['www-authenticate'],
    /^Bearer realm="api", error="invalid_token", error_description="[^"]+"$/,
  );
});

await check('echo reads the body, refused or not', async () => {
  const { access_token: access } = await mint();
  const body = 'x'.repeat(3_000_000);
  const echo = (token) => peer.send('/api/echo', {
    method: 'POST', body, headers: { authorization: `Bearer ${token}` },
  });
  const answer = await echo(access);
  assert.deepEqual([answer.status, answer.body], [200, { sub: 'alice', bytes: body.length }]);
  assert.equal((await echo('nonsense')).status, 401);
});

await check('insufficient scope comes as 403 and as 401', async () => {
  const expected = 'Bearer error="insufficient_scope", scope="admin"';
  for (const [path, status] of [['/api/forbidden', 403], ['/api/scope401', 401]]) {
    const answer = await peer.get(path);
    assert.deepEqual([answer.status, answer.headers['www-authenticate']], [status, expected]);
  }
});

await check('the API redirects where it is told', async () => {
  const to = 'http://elsewhere.example/x?y=1';
  const answer = await peer.get(`/api/redirect?to=${encodeURIComponent(to)}`);
  assert.deepEqual([answer.status, answer.headers.location], [302, to]);
  assert.equal((await peer.get('/api/redirect')).status, 400);
});

await check('API answers are counted by status', async () => {
  const { access_token: access } = await mint();
  await peer.get('/api/me', access);
  await peer.get('/api/me');
  await peer.get('/api/forbidden');
  await peer.get('/api/redirect?to=/');
  await countsInclude({ api: { 200: 1, 302: 1, 401: 1, 403: 1 } });
});
