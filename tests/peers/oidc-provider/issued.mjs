// Everything the token endpoint ever answered, so that a test can look for it
// where it must not be.

const KINDS = ['access_token', 'refresh_token', 'id_token'];

export class Issued {
  #values = Object.fromEntries([...KINDS, 'code'].map((kind) => [kind, new Set()]));

  listenTo(provider) {
    provider.on('authorization.success', (ctx, { code }) => this.#values.code.add(code));
    provider.on('grant.success', ({ body }) => {
      for (const kind of KINDS) if (body[kind]) this.#values[kind].add(body[kind]);
    });
  }

  toJSON() {
    return Object.fromEntries(
      Object.entries(this.#values).map(([kind, values]) => [kind, [...values]]),
    );
  }
}
