// Bundles the web SDK for a page without a bundler: `meshLink.createLink(..)`. The page has to
// set `window.meshLinkShouldSkipPrewarm = true` before it loads dist/web-link-sdk.js, or the SDK
// asks Mesh's own site for its files.

import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

await build({
  stdin: { contents: "export { createLink } from '@meshconnect/web-link-sdk';", resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
  bundle: true,
  minify: true,
  format: 'iife',
  globalName: 'meshLink',
  platform: 'browser',
  define: { global: 'globalThis' },
  outfile: fileURLToPath(new URL('dist/web-link-sdk.js', import.meta.url)),
  logLevel: 'warning',
});
