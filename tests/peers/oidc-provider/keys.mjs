// The key that signs ID tokens and JWT access tokens: a new one at each start.

import { generateKeyPairSync } from 'node:crypto';

export const SIGNING_ALG = 'ES256';

export function newSigningKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: SIGNING_ALG }] },
    publicKey,
  };
}
