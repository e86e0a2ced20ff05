// The library, and what outlives one configuration of it. It takes neither keys
// nor clients once it runs, so another one takes its place over the same store.

import { randomBytes } from 'node:crypto';

import Provider from 'oidc-provider';

import { Store } from './adapter.mjs';
import { webClient } from './clients.mjs';
import { configuration } from './configuration.mjs';
import { newSigningKey, publicPart } from './keys.mjs';

export class AuthorizationServer {
  store = new Store();

  #issuer;

  #settings;

  #cookieKeys = [randomBytes(32).toString('hex')];

  // The first one signs.
  #keys = [newSigningKey()];

  #web;

  #setUp;

  // `setUp` is given every provider before it answers anything.
  constructor(issuer, settings, setUp) {
    this.#issuer = issuer;
    this.#settings = settings;
    this.#web = webClient(settings.webOrigin);
    this.#setUp = setUp;
    this.#start();
  }

  // The key set, as JSON (RFC 7517 section 5).
  get published() {
    return { keys: this.#keys.map(publicPart) };
  }

  // A new key signs from now on. The former ones stay published, or do not.
  rotateKeys({ forget = false } = {}) {
    this.#keys = [newSigningKey(), ...(forget ? [] : this.#keys)];
    this.#start();
  }

  // Moves the client `web` to another origin.
  registerWeb(origin, name) {
    this.#web = webClient(origin, name);
    this.#start();
  }

  #start() {
    this.provider = new Provider(this.#issuer, configuration({
      ...this.#settings,
      store: this.store,
      keys: this.#keys,
      cookieKeys: this.#cookieKeys,
      web: this.#web,
    }));
    this.#setUp(this.provider);
    this.callback = this.provider.callback();
  }
}
