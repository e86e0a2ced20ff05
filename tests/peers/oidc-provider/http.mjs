// Just enough HTTP for our own routes.

export class BadRequest extends Error {}

// Routes are { 'METHOD /path': handler }. A handler gets the request and its
// parsed URL, and returns [status, body, headers], the body to be sent as JSON.
export function dispatcher(routes) {
  return async function handle(req, res) {
    const url = new URL(req.url, 'http://localhost');
    const handler = routes[`${req.method} ${url.pathname}`] ?? noSuchRoute;
    try {
      send(res, await handler(req, url));
    } catch (error) {
      if (!(error instanceof BadRequest)) console.error(req.method, req.url, error);
      send(res, [error instanceof BadRequest ? 400 : 500, { error: error.message }]);
    }
  };
}

function send(res, [status, body = {}, headers = {}]) {
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  res.end(`${JSON.stringify(body)}\n`);
}

const noSuchRoute = () => [404, { error: 'no such route' }];

export async function readBody(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return Buffer.concat(chunks);
}

// An empty body counts as an empty object.
export async function readJson(req) {
  const text = (await readBody(req)).toString();
  let value;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw new BadRequest(`the body is not JSON: ${error.message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BadRequest('the body must be a JSON object');
  }
  return value;
}
