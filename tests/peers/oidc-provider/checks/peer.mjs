// A running server, and a plain HTTP client to talk to it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

import { clients, webClient } from '../clients.mjs';

export class Peer {
  stdout = '';

  stderr = '';

  static async start(env = {}) {
    const peer = new Peer();
    const server = fileURLToPath(new URL('../server.mjs', import.meta.url));
    peer.child = spawn(process.execPath, [server], {
      env: { ...process.env, PORT: '0', ...env },
    });
    peer.exited = once(peer.child, 'close').then(([code]) => code);
    peer.child.stderr.setEncoding('utf8').on('data', (text) => { peer.stderr += text; });
    const ready = new Promise((resolve) => {
      peer.child.stdout.setEncoding('utf8').on('data', (text) => {
        peer.stdout += text;
        const line = /^ready (.*)\n/.exec(peer.stdout);
        if (line) resolve(line[1]);
      });
    });
    peer.issuer = await Promise.race([ready, peer.exited.then(() => undefined)]);
    if (!peer.issuer) throw new Error(peer.stderr);
    return peer;
  }

  get(path, token) {
    return this.send(path, { headers: token ? { authorization: `Bearer ${token}` } : {} });
  }

  post(path, json = {}) {
    return this.send(path, { method: 'POST', body: JSON.stringify(json) });
  }

  form(path, fields, headers = authentication('basic').headers, signal) {
    return this.send(path, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(fields).toString(),
      signal,
    });
  }

  refresh(refreshToken, clientId = 'basic', signal) {
    const { headers, fields } = authentication(clientId);
    return this.form(
      '/token',
      { grant_type: 'refresh_token', refresh_token: refreshToken, ...fields },
      headers,
      signal,
    );
  }

  // Every request has a connection of its own, so that no fault meets another
  // request. What was received before an error is left on the error.
  async send(path, { method = 'GET', headers = {}, body, signal } = {}) {
    const req = http.request(new URL(path, this.issuer), { method, headers, signal, agent: false });
    req.end(body);
    const [res] = await once(req, 'response');
    let text = '';
    try {
      for await (const chunk of res.setEncoding('utf8')) text += chunk;
    } catch (error) {
      throw Object.assign(error, { received: text });
    }
    return { status: res.statusCode, headers: res.headers, body: parsed(text) };
  }
}

function authentication(clientId) {
  const all = [...clients, webClient('http://localhost')];
  const client = all.find((candidate) => candidate.client_id === clientId);
  const { client_secret: secret, token_endpoint_auth_method: method } = client;
  if (method !== 'client_secret_basic') {
    const fields = { client_id: clientId };
    if (secret) fields.client_secret = secret;
    return { headers: {}, fields };
  }
  const credentials = [clientId, secret].map(formEncoded).join(':');
  return {
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    fields: {},
  };
}

const formEncoded = (text) => new URLSearchParams({ '': text }).toString().slice(1);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
