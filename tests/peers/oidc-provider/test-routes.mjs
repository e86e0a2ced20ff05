// The routes by which a test sets the stage and looks behind it.

import { destroyAccessToken, mintGrant, revokeGrant } from './grants.mjs';
import { BadRequest, readJson } from './http.mjs';
import { REDIRECT_TARGET } from './token-faults.mjs';

const FORMATS = ['opaque', 'jwt'];

export function testRoutes({ provider, counts, faults, gate }) {
  // A client that followed a redirect arrives with whatever method it likes.
  const redirectTarget = () => {
    counts.redirectFollowed();
    return [200, { error: 'this is where a redirected token request ends up' }];
  };

  return {
    'POST /test/grants': async (req) => {
      const {
        client_id: clientId, account, scope = 'openid offline_access api', format = 'opaque',
      } = await readJson(req);
      const client = await provider.Client.find(clientId);
      if (!client) throw new BadRequest(`no client is called "${clientId}"`);
      for (const [name, value] of Object.entries({ account, scope })) {
        if (typeof value !== 'string') throw new BadRequest(`"${name}" must be a string`);
      }
      if (!FORMATS.includes(format)) throw new BadRequest(`"format" must be one of ${FORMATS}`);
      return [200, await mintGrant(provider, { client, account, scope, format })];
    },

    'POST /test/kill-access': async (req) => {
      const { access_token: token } = await readJson(req);
      return [await destroyAccessToken(provider, token) ? 200 : 404];
    },

    'POST /test/kill-grant': async (req) => {
      const { grant_id: grantId } = await readJson(req);
      if (!await revokeGrant(provider, grantId)) return [404];
      counts.grantRevoked(grantId);
      return [200];
    },

    'GET /test/counts': () => [200, counts],

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
