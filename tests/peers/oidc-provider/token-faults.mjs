// Middleware around the library's token endpoint: what goes wrong before the
// library sees a request, and what goes wrong with its answer.

export const REDIRECT_TARGET = '/test/redirect-target';

const OVERSIZE_BYTES = 4 * 1024 * 1024;

export function breakTokenEndpoint({ counts, faults, gate }) {
  return async function tokenFaults(ctx, next) {
    if (ctx.method !== 'POST' || ctx.path !== '/token') return next();

    counts.tokenRequest();
    const fault = faults.take();

    await gate.hold(fault.hold_ms, ctx.res);
    // The client left while it was held: its request never got through.
    if (!ctx.writable) return undefined;

    if (fault.redirect) {
      ctx.redirect(REDIRECT_TARGET);
      ctx.status = 307;
      return undefined;
    }
    if (fault.status) return failWith(ctx, fault.status, fault.retry_after);

    await next();
    counts.tokenAuth(ctx);

    await gate.hold(fault.hold_after_ms, ctx.res);
    // Here too it may have left, but only its answer is lost: the library has
    // done its work.
    if (!ctx.writable) return undefined;
    spoilMembers(ctx, fault);
    return spoilAnswer(ctx, fault);
  };
}

// Leaves errors alone: they have none of these members.
function spoilMembers(ctx, fault) {
  if (ctx.status !== 200) return;
  if (fault.omit_expires_in) delete ctx.body.expires_in;
  if (fault.omit_refresh_token) delete ctx.body.refresh_token;
  if (fault.omit_scope) delete ctx.body.scope;
  if (fault.expires_in_as_string) ctx.body.expires_in = String(ctx.body.expires_in);
}

function spoilAnswer(ctx, fault) {
  if (fault.reset_after) resetConnection(ctx);
  else if (fault.truncate) sendHalf(ctx);
  else if (fault.status_after) failWith(ctx, fault.status_after, fault.retry_after);
  else if (fault.garbage) succeedWith(ctx, '{"access_token": <oops>');
  else if (fault.oversize) {
    succeedWith(ctx, { ...ctx.body, padding: 'x'.repeat(OVERSIZE_BYTES) });
  }
}

// What a gateway in front of the server would say: nothing a client could
// parse, so that the status has to speak for itself.
function failWith(ctx, status, retryAfter) {
  ctx.status = status;
  ctx.type = 'text/plain';
  ctx.body = `status ${status} on behalf of a test\n`;
  if (retryAfter !== undefined) ctx.set('Retry-After', retryAfter);
}

function succeedWith(ctx, body) {
  ctx.status = 200;
  ctx.body = body;
  ctx.type = 'application/json';
}

function resetConnection(ctx) {
  ctx.respond = false;
  ctx.req.socket.resetAndDestroy();
}

// The content length promises the whole body. Half of it comes, and then the
// end of the connection - an orderly one, for a reset could overtake the half.
function sendHalf(ctx) {
  const body = Buffer.from(JSON.stringify(ctx.body));
  ctx.respond = false;
  ctx.res.writeHead(ctx.status, { 'Content-Length': body.length });
  ctx.res.write(body.subarray(0, body.length / 2), () => ctx.req.socket.destroy());
}
