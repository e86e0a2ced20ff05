// Checks the server from outside, as a test would use it: `node check.mjs`.

// One group after the other: they share one server, and so its counts and
// faults. The last one ends it.
for (const group of ['library', 'test-routes', 'web', 'api', 'faults', 'process']) {
  await import(`./checks/${group}.mjs`);
}
