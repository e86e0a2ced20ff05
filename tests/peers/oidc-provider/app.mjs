// Puts the parts together: the library's endpoints, and ours beside them.

import { apiRoutes } from './api.mjs';
import { AuthorizationServer } from './authorization-server.mjs';
import { Counts } from './counts.mjs';
import { Faults } from './faults.mjs';
import { Gate } from './gate.mjs';
import { dispatcher } from './http.mjs';
import { Issued } from './issued.mjs';
import { testRoutes } from './test-routes.mjs';
import { breakTokenEndpoint } from './token-faults.mjs';

export function createApp(issuer, settings) {
  const behind = {
    counts: new Counts(), faults: new Faults(), gate: new Gate(), issued: new Issued(),
  };
  const server = new AuthorizationServer(issuer, settings, (provider) => {
    behind.counts.listenTo(provider);
    behind.issued.listenTo(provider);
    provider.use(breakTokenEndpoint(behind));
  });
  const parts = { server, ...behind };
  const ours = dispatcher({ ...testRoutes(parts), ...apiRoutes(parts) });

  // Only our paths pass through our code, so that the library alone reads the
  // bodies of its own requests.
  return (req, res) => (
    /^\/(test|api)\//.test(req.url) ? ours(req, res) : server.callback(req, res)
  );
}
