// What the environment may set.

export function settingsFrom(env) {
  return {
    port: wholeNumber(env, 'PORT', 0, 0),
    accessTtl: wholeNumber(env, 'ACCESS_TTL', 60, 1),
    refreshTtl: wholeNumber(env, 'REFRESH_TTL', 86400, 1),
    storageMs: wholeNumber(env, 'STORAGE_MS', 0, 0),
    webOrigin: origin(env, 'WEB_ORIGIN', 'http://localhost'),
  };
}

function wholeNumber(env, name, fallback, least) {
  if (env[name] === undefined) return fallback;
  const value = Number(env[name]);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`${name} must be a whole number of at least ${least}, not "${env[name]}"`);
  }
  return value;
}

function origin(env, name, fallback) {
  const value = env[name] ?? fallback;
  if (!isOrigin(value)) {
    throw new Error(`${name} must be an origin such as "http://localhost:8080", not "${value}"`);
  }
  return value;
}

export function isOrigin(value) {
  return typeof value === 'string' && URL.canParse(value) && new URL(value).origin === value;
}
