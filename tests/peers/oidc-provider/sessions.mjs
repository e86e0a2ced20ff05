// Logins of people at this server, and what tells clients that they are over.

import { randomUUID } from 'node:crypto';

import { revokeGrant } from './grants.mjs';

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout';

// Does what the library's end_session.js does once a person has confirmed, for
// every session of the account: clients with a back channel are told, grants
// without offline_access are revoked. Says what it did.
export async function endSessions({ provider, store }, account) {
  const did = { sessions: 0, logged_out: 0, failed: [], revoked: [] };
  for (const { jti } of [...store.all('Session', 'accountId', account)]) {
    const session = await provider.Session.find(jti);
    did.sessions += 1;
    for (const [clientId, { sid, grantId, persistsLogout }] of Object.entries(session.authorizations ?? {})) {
      const client = await provider.Client.find(clientId);
      if (client.backchannelLogoutUri) {
        await client.backchannelLogout(account, sid).then(
          () => { did.logged_out += 1; },
          (error) => did.failed.push(error.message),
        );
      }
      if (!persistsLogout && await revokeGrant(provider, grantId)) did.revoked.push(grantId);
    }
    await session.destroy();
  }
  return did;
}

// The `sid` that the account's sessions have for this client.
export function sidsOf(store, account, clientId) {
  const sessions = [...store.all('Session', 'accountId', account)];
  return sessions.flatMap(({ authorizations }) => authorizations?.[clientId]?.sid ?? []);
}

// What client.backchannelLogout() of the library sends (OpenID Connect
// Back-Channel Logout 1.0 section 2.4), not sent. `claims` replaces some of it,
// null takes one out: signed all the same.
export function logoutToken(provider, client, { account, sid, claims = {} }) {
  const token = new provider.IdToken({ sub: account }, { client });
  token.mask = { sub: null };
  const all = { events: { [LOGOUT_EVENT]: {} }, jti: randomUUID(), sid, ...claims };
  for (const [name, value] of Object.entries(all)) {
    if (value !== null && value !== undefined) token.set(name, value);
  }
  return token.issue({ use: 'logout' });
}
