// What the checks have in common: a server, and what is often done with it.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { Peer } from './peer.mjs';

export const SCOPE = 'openid offline_access api';

// The server that the checks after this talk to.
export let peer = await Peer.start();

export async function startAnother(env) {
  peer = await Peer.start(env);
}

// Each check starts from zero counts and no faults.
export async function check(name, body) {
  await peer.post('/test/reset');
  try {
    await body();
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.error(error, peer.stderr);
    process.exit(1);
  }
  console.log(`ok ${name}`);
}

export async function mint(fields = {}) {
  const asked = { client_id: 'basic', account: 'alice', ...fields };
  const answer = await peer.post('/test/grants', asked);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

export const faults = (set) => peer.post('/test/faults', set);

export const counts = async () => (await peer.get('/test/counts')).body;

export async function countsInclude(expected) {
  const actual = await counts();
  for (const [name, value] of Object.entries(expected)) {
    assert.deepEqual(actual[name], value, `${name} in ${JSON.stringify(actual)}`);
  }
}

export async function held(n) {
  for (let tries = 0; tries < 500; tries += 1) {
    if ((await peer.get('/test/held')).body.held === n) return;
    await sleep(10);
  }
  assert.fail(`never held ${n}`);
}

export async function refreshed(refreshToken, client) {
  const answer = await peer.refresh(refreshToken, client);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

export async function refused(refreshToken) {
  const answer = await peer.refresh(refreshToken);
  assert.equal(answer.status, 400);
  assert.equal(answer.body.error, 'invalid_grant');
}

export async function meStatus(accessToken) {
  return (await peer.get('/api/me', accessToken)).status;
}

export async function introspect(token) {
  return (await peer.form('/token/introspection', { token })).body;
}
