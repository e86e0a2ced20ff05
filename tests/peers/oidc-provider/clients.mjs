// The registered clients: one for each way a client may authenticate, and one
// that signs users in.

const common = {
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['https://client.example/callback'],
};

export const clients = [
  {
    ...common,
    client_id: 'basic',
    client_secret: 'basic-secret',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  {
    // RFC 6749 section 2.3.1 has both halves form-encoded before they are
    // joined by ":" and put into base64. Forgetting that shows only with
    // characters like these.
    ...common,
    client_id: 'odd:id',
    client_secret: 'a b+c%2Fd&e=f',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  {
    ...common,
    client_id: 'post',
    client_secret: 'post-secret',
    token_endpoint_auth_method: 'client_secret_post',
  },
  {
    ...common,
    client_id: 'public',
    token_endpoint_auth_method: 'none',
  },
  {
    // Its private key stands in the test that signs with it.
    ...common,
    client_id: 'jwt',
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: {
      keys: [
        {
          kid: 'test-key',
          use: 'sig',
          alg: 'ES256',
          kty: 'EC',
          crv: 'P-256',
          x: 'cIr8keSVUoKCKVNMZBHX4SWJYFjgpEJ7or_-J49dAlY',
          y: '7jonbShrqNEWxNc6zh0RGShcgolzLkRX_EovCH7bLek',
        },
      ],
    },
  },
];

// Its routes are those of axum-token at "/auth", where it calls this server `name`.
export function webClient(origin, name = 'op') {
  return {
    ...common,
    client_id: 'web',
    client_secret: 'web-secret',
    token_endpoint_auth_method: 'client_secret_basic',
    redirect_uris: [`${origin}/auth/${name}/callback`],
    post_logout_redirect_uris: [`${origin}/`],
    backchannel_logout_uri: `${origin}/auth/${name}/backchannel-logout`,
    backchannel_logout_session_required: true,
  };
}
