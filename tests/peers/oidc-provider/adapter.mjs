// Where the library keeps its grants and tokens: in memory, and nothing is
// dropped before its time. (The adapter that comes with the library keeps its
// latest thousand entries, which a busy test overruns.)

import { setTimeout as sleep } from 'node:timers/promises';

import { errors } from 'oidc-provider';

// The library's own words for what was spent before, see its refresh_token.js and
// authorization_code.js.
export const ALREADY_USED = {
  RefreshToken: 'refresh token already used',
  AuthorizationCode: 'authorization code already consumed',
};

// What is issued under a grant and must not outlive it.
const ISSUED_UNDER_A_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

// Shared by the adapters of all models, since revoking a grant crosses them.
export class Store {
  #records = new Map();

  put(model, id, payload, expiresIn) {
    const expiresAt = expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000;
    this.#records.set(`${model}:${id}`, { model, payload, expiresAt });
  }

  // The stored payload itself, not a copy.
  get(model, id) {
    const record = this.#records.get(`${model}:${id}`);
    return record && Date.now() < record.expiresAt ? record.payload : undefined;
  }

  search(model, property, value) {
    return this.all(model, property, value).next().value;
  }

  * all(model, property, value) {
    for (const record of this.#records.values()) {
      const live = Date.now() < record.expiresAt;
      if (live && record.model === model && record.payload[property] === value) {
        yield record.payload;
      }
    }
  }

  delete(model, id) {
    this.#records.delete(`${model}:${id}`);
  }

  deleteIssuedUnder(grantId) {
    for (const [key, { payload }] of this.#records) {
      if (payload.grantId === grantId) this.#records.delete(key);
    }
  }
}

// The interface the library documents in its example/my_adapter.js. Every
// method does its work in one go, so two requests can interleave between calls,
// never within one. Before it the storage may take its time, as one over a
// network does: then they do interleave.
export class Adapter {
  #model;

  #store;

  #latencyMs;

  constructor(model, store, latencyMs) {
    this.#model = model;
    this.#store = store;
    this.#latencyMs = latencyMs;
  }

  async #latency() {
    if (this.#latencyMs > 0) await sleep(this.#latencyMs);
  }

  async upsert(id, payload, expiresIn) {
    await this.#latency();
    // A refresh that has just been answered with a revocation by a concurrent
    // request still goes on to save its new tokens. They must not come to life.
    const orphan = ISSUED_UNDER_A_GRANT.has(this.#model)
      && payload.grantId !== undefined
      && !this.#store.get('Grant', payload.grantId);
    if (!orphan) this.#store.put(this.#model, id, { ...payload }, expiresIn);
  }

  async find(id) {
    await this.#latency();
    return copyOf(this.#store.get(this.#model, id));
  }

  async findByUid(uid) {
    await this.#latency();
    return copyOf(this.#store.search(this.#model, 'uid', uid));
  }

  async findByUserCode(userCode) {
    await this.#latency();
    return copyOf(this.#store.search(this.#model, 'userCode', userCode));
  }

  // The library looks at `consumed` some awaits before it calls this, so two
  // requests may both have seen the token, or the code, unspent. Here exactly
  // one of them wins. The other gets what the library does to one it sees was
  // spent: the grant is revoked, and the same error is answered.
  async consume(id) {
    await this.#latency();
    const stored = this.#store.get(this.#model, id);
    if (!stored) throw new errors.InvalidGrant(`no such ${this.#model}`);
    if (stored.consumed) {
      this.#store.deleteIssuedUnder(stored.grantId);
      this.#store.delete('Grant', stored.grantId);
      const error = new errors.InvalidGrant(ALREADY_USED[this.#model]);
      throw Object.assign(error, { revoked: stored.grantId });
    }
    stored.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    await this.#latency();
    this.#store.delete(this.#model, id);
  }

  async revokeByGrantId(grantId) {
    await this.#latency();
    this.#store.deleteIssuedUnder(grantId);
  }
}

// As a database would: what the library does to the answer is not yet stored.
function copyOf(payload) {
  return payload && { ...payload };
}
