// Every fault of the token endpoint.

import assert from 'node:assert/strict';

import {
  SCOPE, check, countsInclude, faults, held, mint, peer, refreshed, refused,
} from './bench.mjs';

const OVERSIZE_BYTES = 4 * 1024 * 1024;

await check('a misspelt fault is refused', async () => {
  assert.equal((await faults({ hold: 500 })).status, 400);
  assert.equal((await faults({ status: '503' })).status, 400);
  assert.equal((await faults({ status: 503, times: 0 })).status, 400);
});

await check('a new set of faults replaces the former', async () => {
  await faults({ omit_scope: true });
  await faults({ omit_expires_in: true });
  assert.deepEqual((await peer.get('/test/faults')).body, { omit_expires_in: true, hits: 0 });
  const answer = await refreshed((await mint()).refresh_token);
  assert.equal(answer.scope, SCOPE);
  assert.ok(!('expires_in' in answer));
  assert.deepEqual((await peer.get('/test/faults')).body, { omit_expires_in: true, hits: 1 });
});

await check('members can be left out or mistyped', async () => {
  await faults({ omit_refresh_token: true, omit_scope: true, expires_in_as_string: true });
  const answer = await refreshed((await mint()).refresh_token);
  assert.ok(!('refresh_token' in answer) && !('scope' in answer));
  assert.equal(answer.expires_in, '60');
});

await check('faults of the members leave errors alone', async () => {
  await faults({ omit_expires_in: true, expires_in_as_string: true });
  await refused('nonsense');
});

await check('times: the fault wears off', async () => {
  await faults({ status: 503, times: 2 });
  const { refresh_token: refresh } = await mint();
  assert.equal((await peer.refresh(refresh)).status, 503);
  assert.deepEqual((await peer.get('/test/faults')).body, { status: 503, times: 1, hits: 1 });
  assert.equal((await peer.refresh(refresh)).status, 503);
  assert.deepEqual((await peer.get('/test/faults')).body, { hits: 2 });
  await refreshed(refresh);
  await countsInclude({ token_requests: 3, refresh_ok: 1 });
});

await check('status: answered without processing', async () => {
  await faults({ status: 429, retry_after: '7', times: 1 });
  const { refresh_token: refresh } = await mint();
  const answer = await peer.refresh(refresh);
  assert.deepEqual([answer.status, answer.headers['retry-after']], [429, '7']);
  await countsInclude({ token_requests: 1, refresh_ok: 0, refresh_failed: 0 });
  await refreshed(refresh);
});

await check('status_after: processed all the same', async () => {
  await faults({ status_after: 502, times: 1 });
  const { refresh_token: refresh } = await mint();
  const answer = await peer.refresh(refresh);
  assert.equal(answer.status, 502);
  assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
  await countsInclude({ refresh_ok: 1 });
  await refused(refresh);
  await countsInclude({ reuse_detected: 1 });
});

await check('reset_after: processed, and the connection reset', async () => {
  await faults({ reset_after: true, times: 1 });
  const { refresh_token: refresh } = await mint();
  await assert.rejects(peer.refresh(refresh), { code: 'ECONNRESET', syscall: 'read' });
  await countsInclude({ refresh_ok: 1 });
});

await check('truncate: half an answer', async () => {
  await faults({ truncate: true, times: 1 });
  const { refresh_token: refresh } = await mint();
  await assert.rejects(peer.refresh(refresh), ({ received, code }) => {
    assert.equal(code, 'ECONNRESET');
    assert.ok(received.startsWith('{"access_token":"') && received.length > 50, received);
    return true;
  });
  await countsInclude({ refresh_ok: 1 });
});

await check('garbage: processed, and no JSON', async () => {
  await faults({ garbage: true, times: 1 });
  const answer = await peer.refresh((await mint()).refresh_token);
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.equal(typeof answer.body, 'string');
  await countsInclude({ refresh_ok: 1 });
});

await check('oversize: processed, and megabytes of JSON', async () => {
  await faults({ oversize: true, times: 1 });
  const answer = await peer.refresh((await mint()).refresh_token);
  assert.equal(answer.status, 200);
  assert.ok(Number(answer.headers['content-length']) > OVERSIZE_BYTES);
  assert.ok('access_token' in answer.body);
  await countsInclude({ refresh_ok: 1 });
});

await check('redirect: not processed, and following it is noticed', async () => {
  await faults({ redirect: true, times: 1 });
  const { refresh_token: refresh } = await mint();
  const answer = await peer.refresh(refresh);
  assert.equal(answer.status, 307);
  await countsInclude({ refresh_ok: 0, redirects_followed: 0 });
  await peer.form(answer.headers.location, {});
  await countsInclude({ redirects_followed: 1 });
  await refreshed(refresh);
});

await check('hold_ms: held before it is processed, for as long as told', async () => {
  await faults({ hold_ms: 2000, times: 1 });
  const { refresh_token: refresh } = await mint();
  const start = performance.now();
  const answer = refreshed(refresh);
  await held(1);
  await countsInclude({ token_requests: 1, refresh_ok: 0 });
  await answer;
  assert.ok(performance.now() - start >= 1995);
  assert.equal((await peer.get('/test/held')).body.held, 0);
});

await check('hold_ms -1: held until released', async () => {
  await faults({ hold_ms: -1, times: 2 });
  const answers = [await mint(), await mint()].map((grant) => refreshed(grant.refresh_token));
  await held(2);
  await countsInclude({ token_requests: 2, refresh_ok: 0 });
  assert.deepEqual((await peer.post('/test/release')).body, { released: 2 });
  await Promise.all(answers);
  await countsInclude({ refresh_ok: 2 });
});

await check('hold_after_ms: held after it was processed', async () => {
  await faults({ hold_after_ms: -1, times: 1 });
  const answer = refreshed((await mint()).refresh_token);
  await held(1);
  await countsInclude({ refresh_ok: 1 });
  await peer.post('/test/release');
  await answer;
});

await check('a client that leaves while held before: not processed', async () => {
  await faults({ hold_ms: -1, times: 1 });
  const { refresh_token: refresh } = await mint();
  const leaving = new AbortController();
  const answer = peer.refresh(refresh, 'basic', leaving.signal);
  await held(1);
  leaving.abort();
  await assert.rejects(answer);
  await held(0);
  await countsInclude({ token_requests: 1, refresh_ok: 0, refresh_failed: 0 });
  await refreshed(refresh);
});

await check('a client that leaves while held after: processed, the answer lost', async () => {
  await faults({ hold_after_ms: -1, times: 1, truncate: true });
  const { refresh_token: refresh } = await mint();
  const leaving = new AbortController();
  const answer = peer.refresh(refresh, 'basic', leaving.signal);
  await held(1);
  leaving.abort();
  await assert.rejects(answer);
  await held(0);
  await countsInclude({ refresh_ok: 1 });
  await refused(refresh);
  await countsInclude({ reuse_detected: 1 });
});
