// A key that signs ID tokens, logout tokens and JWT access tokens: a new one at
// each start, and whenever a test asks for one.

import { generateKeyPairSync, randomUUID } from 'node:crypto';

export const SIGNING_ALG = 'ES256';

export function newSigningKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' });
  return { ...jwk, use: 'sig', alg: SIGNING_ALG, kid: randomUUID() };
}

export function publicPart({ d, ...jwk }) {
  return jwk;
}
