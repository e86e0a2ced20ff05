// The routes that set the stage.

import assert from 'node:assert/strict';

import {
  check, counts, countsInclude, faults, meStatus, mint, peer, refreshed, refused,
} from './bench.mjs';

await check('kill-access kills one access token', async () => {
  const { access_token: access, refresh_token: refresh } = await mint();
  assert.equal((await peer.post('/test/kill-access', { access_token: access })).status, 200);
  assert.equal(await meStatus(access), 401);
  assert.equal((await peer.post('/test/kill-access', { access_token: access })).status, 404);
  assert.equal(await meStatus((await refreshed(refresh)).access_token), 200);
});

await check('kill-grant kills the grant', async () => {
  const { access_token: access, refresh_token: refresh, grant_id: id } = await mint();
  assert.equal((await peer.post('/test/kill-grant', { grant_id: id })).status, 200);
  assert.equal(await meStatus(access), 401);
  await refused(refresh);
  assert.equal((await peer.post('/test/kill-grant', { grant_id: id })).status, 404);
  await countsInclude({ grants_revoked: 1, reuse_detected: 0, refresh_failed: 1 });
});

await check('all of an account can be killed, by its name', async () => {
  const accounts = ['dee', 'dee', 'dan'];
  const [one, two, other] = await Promise.all(accounts.map((account) => mint({ account })));
  const statuses = () => Promise.all([one, two, other].map((each) => meStatus(each.access_token)));
  assert.deepEqual((await peer.post('/test/kill-access', { account: 'dee' })).body, { killed: 2 });
  assert.deepEqual(await statuses(), [401, 401, 200]);
  const { refresh_token: next } = await refreshed(one.refresh_token);
  assert.deepEqual((await peer.post('/test/kill-grant', { account: 'dee' })).body, { killed: 2 });
  await refused(next);
  await refused(two.refresh_token);
  await refreshed(other.refresh_token);
  await countsInclude({ grants_revoked: 2 });
  assert.equal((await peer.post('/test/kill-grant', { account: 'dee' })).status, 404);
});

await check('reset zeroes the counts and clears the faults', async () => {
  await refreshed((await mint()).refresh_token);
  await faults({ status: 503 });
  await peer.post('/test/reset');
  assert.deepEqual(await counts(), {
    refresh_ok: 0, refresh_failed: 0, reuse_detected: 0, grants_revoked: 0,
    refresh_ok_by_account: {}, token_requests: 0, token_auth: { basic: 0, post: 0, jwt: 0, none: 0 },
    redirects_followed: 0, api: { 200: 0, 401: 0 },
    authorizations: 0, authorizations_denied: 0, code_ok: 0, code_failed: 0, code_replayed: 0,
    userinfo: 0, logouts: 0, backchannel_ok: 0, backchannel_failed: 0,
  });
  assert.deepEqual((await peer.get('/test/faults')).body, { hits: 0 });
});

await check('unknown test routes and broken JSON are told', async () => {
  assert.equal((await peer.get('/test/nothing')).status, 404);
  assert.equal((await peer.get('/test/grants')).status, 404);
  const answer = await peer.send('/test/grants', { method: 'POST', body: '{' });
  assert.equal(answer.status, 400);
});
