// The set of faults in force, and how long it stays so.

import { BadRequest } from './http.mjs';

const TYPES = {
  hold_ms: 'number',
  hold_after_ms: 'number',
  omit_expires_in: 'boolean',
  expires_in_as_string: 'boolean',
  omit_refresh_token: 'boolean',
  omit_scope: 'boolean',
  status: 'number',
  status_after: 'number',
  retry_after: 'string',
  redirect: 'boolean',
  reset_after: 'boolean',
  truncate: 'boolean',
  garbage: 'boolean',
  oversize: 'boolean',
  times: 'number',
};

export class Faults {
  #faults = {};

  #hits = 0;

  // Replaces the former set.
  set(faults) {
    // A misspelt fault would let a test pass for the wrong reason.
    for (const [name, value] of Object.entries(faults)) {
      if (!Object.hasOwn(TYPES, name)) throw new BadRequest(`no fault is called "${name}"`);
      if (typeof value !== TYPES[name]) throw new BadRequest(`"${name}" must be a ${TYPES[name]}`);
    }
    if (faults.times !== undefined && !(faults.times > 0)) {
      throw new BadRequest('"times" must be positive');
    }
    this.#faults = { ...faults };
    this.#hits = 0;
  }

  // The faults that the request at hand has to suffer.
  take() {
    const { times, ...faults } = this.#faults;
    if (Object.keys(faults).length > 0) this.#hits += 1;
    if (times !== undefined) this.#faults = times > 1 ? { ...faults, times: times - 1 } : {};
    return faults;
  }

  toJSON() {
    return { ...this.#faults, hits: this.#hits };
  }
}
