// Puts the parts together: the library's endpoints, and ours beside them.

import Provider from 'oidc-provider';

import { apiRoutes } from './api.mjs';
import { configuration } from './configuration.mjs';
import { Counts } from './counts.mjs';
import { Faults } from './faults.mjs';
import { Gate } from './gate.mjs';
import { dispatcher } from './http.mjs';
import { newSigningKey } from './keys.mjs';
import { testRoutes } from './test-routes.mjs';
import { breakTokenEndpoint } from './token-faults.mjs';

export function createApp(issuer, settings) {
  const key = newSigningKey();
  const provider = new Provider(issuer, configuration(key, settings));
  const parts = { provider, key, counts: new Counts(), faults: new Faults(), gate: new Gate() };

  parts.counts.listenTo(provider);
  provider.use(breakTokenEndpoint(parts));

  const oauth = provider.callback();
  const ours = dispatcher({ ...testRoutes(parts), ...apiRoutes(parts) });

  // Only our paths pass through our code, so that the library alone reads the
  // bodies of its own requests.
  return (req, res) => (/^\/(test|api)\//.test(req.url) ? ours(req, res) : oauth(req, res));
}
