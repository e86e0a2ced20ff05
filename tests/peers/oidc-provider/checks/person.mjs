// A person with a browser: cookies, redirects within the server, and its forms.

import { createHash, randomBytes } from 'node:crypto';

import { peer } from './bench.mjs';

export class Person {
  #cookies = new Map();

  constructor(name) {
    this.name = name;
  }

  // One request, with the cookies.
  async ask(url, form) {
    const { pathname } = new URL(url, peer.issuer);
    const cookie = [...this.#cookies.values()]
      .filter(({ path }) => pathname.startsWith(path))
      .map(({ pair }) => pair).join('; ');
    const answer = form
      ? await peer.form(url, form, { cookie, accept: 'text/html' })
      : await peer.send(url, { headers: { cookie, accept: 'text/html' } });
    for (const line of answer.headers['set-cookie'] ?? []) {
      const pair = /^[^;]*/.exec(line)[0];
      const path = /; *path=([^;]*)/i.exec(line)?.[1] ?? '/';
      const key = `${pair.split('=')[0]} ${path}`;
      this.#cookies.delete(key);
      if (!line.includes('01 Jan 1970')) this.#cookies.set(key, { pair, path });
    }
    return answer;
  }

  // Fills in whatever is shown until the server sends the browser elsewhere, or
  // shows something to read only. The places seen are the prompts, in order.
  async go(url, { deny = false } = {}) {
    const seen = [];
    let answer = await this.ask(url);
    for (;;) {
      const { location } = answer.headers;
      if (location && new URL(location, peer.issuer).origin !== peer.issuer) {
        return { seen, to: new URL(location) };
      }
      const page = location ? undefined : shown(answer.body);
      if (!location && !page) return { seen, text: answer.body };
      if (page) seen.push(page.what);
      if (location) answer = await this.ask(location);
      else if (deny && page.cancel) answer = await this.ask(page.cancel);
      else answer = await this.ask(page.action, { ...page.fields, ...this.#entry(page.what) });
    }
  }

  #entry(what) {
    if (what === 'login') return { login: this.name, password: 'anything' };
    return what === 'logout' ? { logout: 'yes' } : {};
  }
}

function shown(html) {
  const action = /<form[^>]* action="([^"]*)"/.exec(html)?.[1];
  if (!action) return undefined;
  const hidden = [...html.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)];
  const fields = Object.fromEntries(hidden.map(([, name, value]) => [name, value]));
  const cancel = /href="([^"]*\/abort)"/.exec(html)?.[1];
  return {
    action, fields, cancel, what: fields.prompt ?? 'logout',
  };
}

// An authorization request of the client `web` (RFC 7636 section 4).
export function request(origin, fields = {}) {
  const verifier = randomBytes(32).toString('base64url');
  const url = new URL('/auth', peer.issuer);
  const callback = `${origin}/auth/op/callback`;
  url.search = new URLSearchParams({
    client_id: 'web',
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid email offline_access api',
    state: 'a-state',
    nonce: 'a-nonce',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...fields,
  });
  return { url: url.href, callback, verifier };
}

export function exchange({ callback, verifier }, code) {
  return peer.form('/token', {
    grant_type: 'authorization_code', code, redirect_uri: callback, code_verifier: verifier,
  }, { authorization: `Basic ${Buffer.from('web:web-secret').toString('base64')}` });
}
