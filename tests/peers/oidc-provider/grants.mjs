// Grants made and taken back without a browser, through the library's models.

import { API_RESOURCE, apiResourceServer } from './configuration.mjs';

// Does what a finished authorization code flow leaves behind, and answers as
// the token endpoint would have (RFC 6749 section 5.1).
export async function mintGrant(provider, { client, account, scope, format }) {
  const resourceServer = format === 'jwt'
    ? new provider.ResourceServer(API_RESOURCE, apiResourceServer)
    : undefined;

  const grant = new provider.Grant({ accountId: account, clientId: client.clientId });
  grant.addOIDCScope(scope);
  if (resourceServer) grant.addResourceScope(API_RESOURCE, scope);
  const grantId = await grant.save();

  const scopes = new Set(scope.split(' '));
  const common = { client, grantId, accountId: account, gty: 'authorization_code', claims: {} };

  const accessToken = new provider.AccessToken({
    ...common,
    resourceServer,
    scope: resourceServer
      ? grant.getResourceScopeFiltered(API_RESOURCE, resourceServer.scopes)
      : grant.getOIDCScopeFiltered(scopes),
  });
  const refreshToken = new provider.RefreshToken({
    ...common,
    scope,
    resource: resourceServer && API_RESOURCE,
  });

  return {
    access_token: await accessToken.save(),
    refresh_token: await refreshToken.save(),
    expires_in: accessToken.expiration,
    token_type: accessToken.tokenType,
    scope: accessToken.scope,
    grant_id: grantId,
  };
}

// False if there is no such grant.
export async function revokeGrant(provider, grantId) {
  const grant = await provider.Grant.find(grantId);
  if (!grant) return false;
  await Promise.all([
    provider.AccessToken.revokeByGrantId(grantId),
    provider.RefreshToken.revokeByGrantId(grantId),
    grant.destroy(),
  ]);
  return true;
}

// False if there is no such token. A JWT is never stored, hence never found.
export async function destroyAccessToken(provider, value) {
  const token = await provider.AccessToken.find(value);
  if (!token) return false;
  await token.destroy();
  return true;
}
