// Signing in and out through the library's own pages, as the client `web`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';

import {
  check, countsInclude, meStatus, mint, peer, refreshed,
} from './bench.mjs';
import { Peer } from './peer.mjs';
import { Person, exchange, request } from './person.mjs';

// The app's end of the back channel. It answers what `status` says.
const told = [];
let status = 200;
const app = http.createServer(async (req, res) => {
  let body = '';
  for await (const chunk of req) body += chunk;
  told.push({ path: req.url, token: new URLSearchParams(body).get('logout_token') });
  res.writeHead(status).end();
});
app.listen(0, '127.0.0.1').unref();
await once(app, 'listening');
const ORIGIN = `http://localhost:${app.address().port}`;

await peer.post('/test/web-origin', { origin: ORIGIN });

const verified = (token, options) => jwtVerify(
  token,
  createRemoteJWKSet(new URL('/jwks', peer.issuer)),
  { issuer: peer.issuer, audience: 'web', ...options },
);

// All of it, up to the tokens.
async function signIn(person, fields = { prompt: 'consent' }) {
  const asked = request(ORIGIN, fields);
  const { to, seen } = await person.go(asked.url);
  const answer = await exchange(asked, to.searchParams.get('code'));
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return { seen, ...answer.body };
}

const logOut = (person, hint) => person.go(`/session/end?${new URLSearchParams({
  id_token_hint: hint, post_logout_redirect_uri: `${ORIGIN}/`, state: 'after',
})}`);

await check('discovery tells of codes, logout and iss', async () => {
  const { body } = await peer.get('/.well-known/openid-configuration');
  assert.equal(body.authorization_endpoint, `${peer.issuer}/auth`);
  assert.equal(body.end_session_endpoint, `${peer.issuer}/session/end`);
  assert.equal(body.authorization_response_iss_parameter_supported, true);
  assert.equal(body.backchannel_logout_session_supported, true);
  assert.deepEqual(body.code_challenge_methods_supported, ['S256']);
  assert.deepEqual(body.id_token_signing_alg_values_supported, ['ES256']);
});

await check('a person logs in and consents, and the code brings tokens', async () => {
  const asked = request(ORIGIN, { prompt: 'consent' });
  const { to, seen } = await new Person('alice').go(asked.url);
  assert.deepEqual(seen, ['login', 'consent']);
  assert.equal(to.origin + to.pathname, asked.callback);
  const { code, ...rest } = Object.fromEntries(to.searchParams);
  assert.deepEqual(rest, { state: 'a-state', iss: peer.issuer });
  const { body } = await exchange(asked, code);
  assert.equal(body.scope, 'openid email offline_access api');
  const { payload } = await verified(body.id_token);
  assert.equal(payload.sub, 'alice');
  assert.equal(payload.nonce, 'a-nonce');
  assert.equal(payload.email, 'alice@example.com');
  assert.match(payload.sid, /^[\w-]{20,}$/);
  assert.equal(await meStatus(body.access_token), 200);
  const userinfo = await peer.get('/me', body.access_token);
  assert.equal(userinfo.body.email, 'alice@example.com');
  const next = await refreshed(body.refresh_token, 'web');
  const issued = (await peer.get('/test/issued')).body;
  assert.ok(issued.code.includes(code));
  for (const kind of ['access_token', 'refresh_token', 'id_token']) {
    assert.ok(issued[kind].includes(body[kind]) && issued[kind].includes(next[kind]), kind);
  }
  await countsInclude({
    authorizations: 1, code_ok: 1, code_failed: 0, userinfo: 1, refresh_ok: 1,
    refresh_ok_by_account: { alice: 1 }, token_auth: { basic: 2, post: 0, jwt: 0, none: 0 },
  });
});

await check('one who is logged in and has consented is not asked again', async () => {
  const alice = new Person('alice');
  await signIn(alice);
  const again = await signIn(alice, {});
  assert.deepEqual(again.seen, []);
  // Without prompt=consent the library takes the scope away. The refresh token
  // is there all the same, and ends with the session.
  assert.equal(again.scope, 'openid email api');
  const next = await refreshed(again.refresh_token, 'web');
  await peer.post('/test/end-session', { account: 'alice' });
  assert.equal((await peer.refresh(next.refresh_token, 'web')).status, 400);
});

await check('a person may refuse, at the login and at the consent', async () => {
  const { url } = request(ORIGIN, { prompt: 'consent' });
  const bob = new Person('bob');
  await signIn(bob);
  for (const [person, prompt] of [[new Person('carol'), 'login'], [bob, 'consent']]) {
    const { to, seen } = await person.go(url, { deny: true });
    assert.deepEqual(seen, [prompt]);
    assert.equal(to.searchParams.get('error'), 'access_denied');
    assert.equal(to.searchParams.get('state'), 'a-state');
    assert.equal(to.searchParams.get('iss'), peer.issuer);
  }
  await countsInclude({ authorizations: 1, authorizations_denied: 2 });
});

await check('two tabs at once each get their own answer', async () => {
  const dora = new Person('dora');
  const asked = ['one', 'two'].map((state) => request(ORIGIN, { state, prompt: 'consent' }));
  const pages = [];
  for (const { url } of asked) pages.push((await dora.ask(url)).headers.location);
  for (const [i, state] of ['one', 'two'].entries()) {
    const { to } = await dora.go(pages[i]);
    assert.equal(to.searchParams.get('state'), state);
    assert.equal((await exchange(asked[i], to.searchParams.get('code'))).status, 200);
  }
});

await check('a code without PKCE, or with the plain one, is not given', async () => {
  const asked = [
    { code_challenge: '', code_challenge_method: '' }, { code_challenge_method: 'plain' },
  ];
  for (const fields of asked) {
    const { to } = await new Person('alice').go(request(ORIGIN, fields).url);
    assert.equal(to.searchParams.get('error'), 'invalid_request');
  }
});

await check('a redirect URI is taken to the letter', async () => {
  const { url } = request(ORIGIN, { redirect_uri: `${ORIGIN}/auth/op/callback/` });
  const { text } = await new Person('alice').go(url);
  assert.match(text, /redirect_uri/);
});

await check('a code is good once, with its verifier', async () => {
  const asked = request(ORIGIN, { prompt: 'consent' });
  const code = (await new Person('alice').go(asked.url)).to.searchParams.get('code');
  const wrong = await exchange({ ...asked, verifier: request(ORIGIN).verifier }, code);
  assert.equal(wrong.body.error, 'invalid_grant');
  const { body } = await exchange(asked, code);
  const replayed = await exchange(asked, code);
  assert.equal(replayed.body.error, 'invalid_grant');
  await countsInclude({
    code_ok: 1, code_failed: 2, code_replayed: 1, grants_revoked: 1, reuse_detected: 0,
  });
  assert.equal(await meStatus(body.access_token), 401);
  assert.equal((await peer.refresh(body.refresh_token, 'web')).status, 400);
});

await check('of simultaneous exchanges of a code one is answered, and the grant revoked', async () => {
  const asked = request(ORIGIN, { prompt: 'consent' });
  const code = (await new Person('alice').go(asked.url)).to.searchParams.get('code');
  const answers = await Promise.all([1, 2, 3].map(() => exchange(asked, code)));
  const winners = answers.filter((answer) => answer.status === 200);
  assert.equal(winners.length, 1);
  assert.equal(await meStatus(winners[0].body.access_token), 401);
  await countsInclude({ code_ok: 1, code_failed: 2, grants_revoked: 1 });
});

await check('one whose grant was revoked is asked for consent again', async () => {
  const eve = new Person('eve');
  const first = await signIn(eve);
  const ended = await peer.form('/token/revocation', { token: first.refresh_token }, {
    authorization: `Basic ${Buffer.from('web:web-secret').toString('base64')}`,
  });
  assert.equal(ended.status, 200);
  const second = await signIn(eve);
  assert.deepEqual(second.seen, ['consent']);
  assert.equal(await meStatus(second.access_token), 200);
});

await check('a person logs out on the library\'s page, and the app is told', async () => {
  const fay = new Person('fay');
  const { id_token: hint, refresh_token: refresh } = await signIn(fay);
  const { payload: { sid } } = await verified(hint);
  told.length = 0;
  const { seen, to } = await logOut(fay, hint);
  assert.deepEqual(seen, ['logout']);
  assert.equal(to.href, `${ORIGIN}/?state=after`);
  assert.deepEqual(told.map(({ path }) => path), ['/auth/op/backchannel-logout']);
  const { payload } = await verified(told[0].token, { typ: 'logout+jwt' });
  assert.deepEqual([payload.sub, payload.sid, payload.nonce], ['fay', sid, undefined]);
  assert.deepEqual(payload.events, { 'http://schemas.openid.net/event/backchannel-logout': {} });
  assert.equal(typeof payload.jti, 'string');
  await countsInclude({ logouts: 1, backchannel_ok: 1, backchannel_failed: 0 });
  // Granted for when she is away (OpenID Connect Core section 11).
  await refreshed(refresh, 'web');
  assert.deepEqual((await signIn(fay)).seen, ['login', 'consent']);
});

await check('one who is logged out already is sent back without a word', async () => {
  const gil = new Person('gil');
  const { id_token: hint } = await signIn(gil);
  await logOut(gil, hint);
  assert.equal((await logOut(gil, hint)).to.href, `${ORIGIN}/?state=after`);
  const elsewhere = await gil.go(`/session/end?${new URLSearchParams({
    id_token_hint: hint, post_logout_redirect_uri: 'http://localhost/elsewhere',
  })}`);
  assert.match(elsewhere.text, /post_logout_redirect_uri not registered/);
});

await check('end-session ends every session of an account, and tells the app of each', async () => {
  const [here, there, other] = [new Person('hal'), new Person('hal'), new Person('ida')];
  const sids = [];
  for (const person of [here, there, other]) {
    sids.push((await verified((await signIn(person)).id_token)).payload.sid);
  }
  told.length = 0;
  const { body } = await peer.post('/test/end-session', { account: 'hal' });
  assert.deepEqual(body, { sessions: 2, logged_out: 2, failed: [], revoked: [] });
  const logouts = await Promise.all(told.map(({ token }) => verified(token)));
  assert.deepEqual(logouts.map(({ payload }) => payload.sid).sort(), sids.slice(0, 2).sort());
  await countsInclude({ backchannel_ok: 2 });
  assert.deepEqual((await signIn(here)).seen, ['login', 'consent']);
  assert.deepEqual((await signIn(other, {})).seen, []);
});

await check('end-session tells of an app that did not listen', async () => {
  await signIn(new Person('joe'));
  status = 400;
  const { body } = await peer.post('/test/end-session', { account: 'joe' });
  status = 200;
  assert.match(body.failed[0], /expected 200 OK from .*, got: 400/);
  await countsInclude({ backchannel_ok: 0, backchannel_failed: 1 });
});

await check('a logout token can be had, and be spoilt before it is signed', async () => {
  const { id_token: hint } = await signIn(new Person('kim'));
  const { payload: { sid } } = await verified(hint);
  const have = async (fields) => {
    const answer = await peer.post('/test/logout-token', { account: 'kim', ...fields });
    assert.equal(answer.status, 200);
    return answer.body.logout_token;
  };
  told.length = 0;
  const good = await verified(await have(), { typ: 'logout+jwt' });
  await peer.post('/test/end-session', { account: 'kim' });
  const sent = await verified(told[0].token, { typ: 'logout+jwt' });
  // As the library's own, but for its id.
  const shape = ({ payload: { jti, iat, exp, ...rest }, protectedHeader }) => ({
    ...rest, life: exp - iat, protectedHeader,
  });
  assert.deepEqual(shape(good), shape(sent));
  assert.equal(good.payload.sid, sid);
  const spoilt = await verified(await have({ sid: 'other', claims: { nonce: 'n', events: null } }));
  assert.deepEqual([spoilt.payload.sid, spoilt.payload.nonce], ['other', 'n']);
  assert.ok(!('events' in spoilt.payload));
  await assert.rejects(verified(await have({ client_id: 'basic' })), { claim: 'aud' });
});

await check('a new key signs, and the former one is published still, or is not', async () => {
  const lea = new Person('lea');
  const before = await signIn(lea);
  const { access_token: jwt } = await mint({ format: 'jwt' });
  const kid = (token) => decodeProtectedHeader(token).kid;
  const published = async () => (await peer.get('/jwks')).body.keys.map((key) => key.kid);
  await peer.post('/test/rotate-keys');
  const after = await signIn(lea, {});
  assert.deepEqual((await published()).slice(0, 2), [kid(after.id_token), kid(before.id_token)]);
  await verified(before.id_token);
  assert.equal(await meStatus(jwt), 200);
  await peer.post('/test/rotate-keys', { forget: true });
  const last = await signIn(lea, {});
  assert.deepEqual(await published(), [kid(last.id_token)]);
  await assert.rejects(verified(before.id_token), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
  assert.equal(await meStatus(jwt), 401);
  // What is not signed goes on: she was not asked again, and is not here.
  assert.deepEqual([after.seen, last.seen], [[], []]);
  await refreshed(before.refresh_token, 'web');
});

await check('the app may be anywhere, and under another name', async () => {
  const another = await Peer.start({ WEB_ORIGIN: ORIGIN });
  const at = (path) => another.send(path).then((answer) => answer.headers.location ?? '');
  const authorize = (callback) => `/auth?${new URLSearchParams({
    client_id: 'web', redirect_uri: callback, response_type: 'code', scope: 'openid',
    code_challenge: 'x'.repeat(43), code_challenge_method: 'S256',
  })}`;
  assert.match(await at(authorize(`${ORIGIN}/auth/op/callback`)), /^\/interaction\//);
  await another.post('/test/web-origin', { origin: 'http://localhost:1', provider: 'other' });
  assert.equal(await at(authorize(`${ORIGIN}/auth/op/callback`)), '');
  assert.match(await at(authorize('http://localhost:1/auth/other/callback')), /^\/interaction\//);
  assert.equal((await another.post('/test/web-origin', { origin: 'localhost' })).status, 400);
  another.child.stdin.end();
  await another.exited;
});

await check('mistakes in ending sessions are told', async () => {
  for (const route of ['end-session', 'logout-token']) {
    assert.equal((await peer.post(`/test/${route}`)).status, 400);
  }
  const unknown = { client_id: 'nobody', account: 'alice' };
  assert.equal((await peer.post('/test/logout-token', unknown)).status, 400);
});
