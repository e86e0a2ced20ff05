// How the server starts, idles, expires what it issued, and ends.

import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  check, countsInclude, introspect, meStatus, mint, peer, refreshed, refused, startAnother,
} from './bench.mjs';
import { Peer } from './peer.mjs';

await check('an idle connection is kept for longer than five seconds', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const localPort = () => new Promise((resolve, reject) => {
    http.get(`${peer.issuer}/jwks`, { agent }, (res) => {
      const port = res.socket.localPort;
      res.resume().on('end', () => resolve(port));
    }).on('error', reject);
  });
  const before = await localPort();
  await sleep(6500);
  assert.equal(await localPort(), before);
  agent.destroy();
});

await check('a setting that makes no sense keeps it from starting', async () => {
  await assert.rejects(Peer.start({ ACCESS_TTL: '1.5' }), /ACCESS_TTL must be a whole number/);
});

await check('one line on stdout, none on stderr, and the end with stdin', async () => {
  peer.child.stdin.end();
  assert.equal(await peer.exited, 0);
  assert.equal(peer.stdout, `ready ${peer.issuer}\n`);
  assert.equal(peer.stderr, '');
  await startAnother({ ACCESS_TTL: '3', REFRESH_TTL: '7' });
});

await check('tokens expire when the environment says so', async () => {
  const grants = [await mint(), await mint({ format: 'jwt' })];
  for (const { expires_in: expiresIn, access_token: access } of grants) {
    assert.equal(expiresIn, 3);
    assert.equal(await meStatus(access), 200);
  }
  await sleep(3100);
  for (const { access_token: access } of grants) assert.equal(await meStatus(access), 401);
  assert.equal((await introspect(grants[0].access_token)).active, false);
  // The refresh token of a rotation starts its life anew.
  const second = await refreshed(grants[0].refresh_token);
  assert.equal(second.expires_in, 3);
  await sleep(4100);
  await refused(grants[1].refresh_token);
  await refreshed(second.refresh_token);
  await countsInclude({ reuse_detected: 0, grants_revoked: 0 });
});

await check('two requests interleave where the storage takes its time', async () => {
  const slow = await Peer.start({ STORAGE_MS: '100' });
  const minted = await slow.post('/test/grants', { client_id: 'basic', accounts: ['a', 'b'] });
  const [first, second] = minted.body.grants;
  const begin = Date.now();
  const both = [slow.refresh(first.refresh_token)];
  // Within the look at the token, which is long before it is spent.
  await sleep(30);
  both.push(slow.refresh(first.refresh_token));
  const statuses = (await Promise.all(both)).map(({ status }) => status);
  assert.deepEqual(statuses.sort(), [200, 400]);
  assert.ok(Date.now() - begin >= 300);
  assert.equal((await slow.refresh(second.refresh_token)).status, 200);
  const { body } = await slow.get('/test/counts');
  const { refresh_ok: ok, reuse_detected: reuse, grants_revoked: revoked } = body;
  assert.deepEqual([ok, reuse, revoked], [2, 1, 1]);
  slow.child.kill('SIGTERM');
  assert.equal(await slow.exited, 0);
});

await check('SIGTERM ends it', async () => {
  peer.child.kill('SIGTERM');
  assert.equal(await peer.exited, 0);
  assert.equal(peer.stderr, '');
});
