// Mesh's own client, as its documentation sets it up.

import { FrontApi } from '@meshconnect/node-api';

export type Client = FrontApi<unknown>;

/** A client of the API at `baseURL`, with these credentials. */
export function client(baseURL: string, id: string, secret: string): Client {
  return new FrontApi({
    baseURL,
    headers: { 'X-Client-Id': id, 'X-Client-Secret': secret },
  });
}
