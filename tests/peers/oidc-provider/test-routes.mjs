// The routes by which a test sets the stage and looks behind it.

import { destroyAccessToken, mintGrant, revokeGrant } from './grants.mjs';
import { BadRequest, readJson } from './http.mjs';
import { endSessions, logoutToken, sidsOf } from './sessions.mjs';
import { isOrigin } from './settings.mjs';
import { REDIRECT_TARGET } from './token-faults.mjs';

const FORMATS = ['opaque', 'jwt'];

export function testRoutes({
  server, counts, faults, gate, issued,
}) {
  const clientOf = async (clientId) => {
    const client = await server.provider.Client.find(clientId);
    if (!client) throw new BadRequest(`no client is called "${clientId}"`);
    return client;
  };

  const idsOf = (model, account) => (
    [...server.store.all(model, 'accountId', account)].map(({ jti }) => jti)
  );

  // A client that followed a redirect arrives with whatever method it likes.
  const redirectTarget = () => {
    counts.redirectFollowed();
    return [200, { error: 'this is where a redirected token request ends up' }];
  };

  return {
    'POST /test/grants': async (req) => {
      const {
        client_id: clientId, account, accounts, scope = 'openid offline_access api',
        format = 'opaque',
      } = await readJson(req);
      const client = await clientOf(clientId);
      mustBeStrings({ ...(accounts ?? { account }), scope });
      if (!FORMATS.includes(format)) throw new BadRequest(`"format" must be one of ${FORMATS}`);
      const mint = (whose) => mintGrant(server.provider, {
        client, account: whose, scope, format,
      });
      if (!accounts) return [200, await mint(account)];
      return [200, { grants: await Promise.all(accounts.map(mint)) }];
    },

    'POST /test/kill-access': async (req) => {
      const { access_token: token, account } = await readJson(req);
      const of = account === undefined ? [token] : idsOf('AccessToken', account);
      const killed = await Promise.all(of.map((id) => destroyAccessToken(server.provider, id)));
      return howMany(killed);
    },

    'POST /test/kill-grant': async (req) => {
      const { grant_id: grantId, account } = await readJson(req);
      const of = account === undefined ? [grantId] : idsOf('Grant', account);
      return howMany(await Promise.all(of.map(async (id) => {
        const revoked = await revokeGrant(server.provider, id);
        if (revoked) counts.grantRevoked(id);
        return revoked;
      })));
    },

    'POST /test/end-session': async (req) => {
      const { account } = await readJson(req);
      mustBeStrings({ account });
      const did = await endSessions(server, account);
      counts.backchannel(did);
      did.revoked.forEach((grantId) => counts.grantRevoked(grantId));
      return [200, did];
    },

    'POST /test/logout-token': async (req) => {
      const {
        client_id: clientId = 'web', account, sid, claims,
      } = await readJson(req);
      const client = await clientOf(clientId);
      mustBeStrings({ account });
      const token = await logoutToken(server.provider, client, {
        account, claims, sid: sid ?? sidsOf(server.store, account, clientId)[0],
      });
      return [200, { logout_token: token }];
    },

    'POST /test/rotate-keys': async (req) => {
      server.rotateKeys(await readJson(req));
      return [200, server.published];
    },

    'POST /test/web-origin': async (req) => {
      const { origin, provider = 'op' } = await readJson(req);
      if (!isOrigin(origin)) throw new BadRequest('"origin" must be like "http://localhost:8080"');
      mustBeStrings({ provider });
      server.registerWeb(origin, provider);
      return [200];
    },

    'GET /test/counts': () => [200, counts],

    'GET /test/issued': () => [200, issued],

    'POST /test/reset': () => {
      counts.reset();
      faults.set({});
      return [200];
    },

    'GET /test/faults': () => [200, faults],

    'POST /test/faults': async (req) => {
      faults.set(await readJson(req));
      return [200, faults];
    },

    'GET /test/held': () => [200, { held: gate.held }],

    'POST /test/release': () => [200, { released: gate.release() }],

    [`GET ${REDIRECT_TARGET}`]: redirectTarget,
    [`POST ${REDIRECT_TARGET}`]: redirectTarget,
  };
}

function howMany(done) {
  const killed = done.filter(Boolean).length;
  return [killed > 0 ? 200 : 404, { killed }];
}

function mustBeStrings(fields) {
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value !== 'string') throw new BadRequest(`"${name}" must be a string`);
  }
}
