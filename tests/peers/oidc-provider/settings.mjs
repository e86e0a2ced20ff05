// What the environment may set.

export function settingsFrom(env) {
  return {
    port: wholeNumber(env, 'PORT', 0, 0),
    accessTtl: wholeNumber(env, 'ACCESS_TTL', 60, 1),
    refreshTtl: wholeNumber(env, 'REFRESH_TTL', 86400, 1),
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
