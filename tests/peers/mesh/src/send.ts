// Sends one refresh with every documented field by Mesh's own client, to whoever records it:
// `node dist/send.js URL ID SECRET JSON`, where JSON is the request.

import type { BrokerRefreshTokenRequest } from '@meshconnect/node-api';

import { client } from './client.js';

const [url = '', id = '', secret = '', request = ''] = process.argv.slice(2);
const data: BrokerRefreshTokenRequest = JSON.parse(request);
const answer = await client(url, id, secret).managedAccountAuthentication.v1TokenRefreshCreate(data);
console.log(answer.status);
