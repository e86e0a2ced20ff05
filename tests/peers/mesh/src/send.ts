// Mesh's own client sends the requests that the provider sends, too, to whoever records them:
// `node dist/send.js URL ID SECRET`. `Required` does not compile with a documented field left
// out.

import type {
  BrokerBaseRequest,
  BrokerRefreshTokenRequest,
  GetLinkTokenRequest,
} from '@meshconnect/node-api';

import { client } from './client.js';

const full: Required<BrokerRefreshTokenRequest> = {
  type: 'weBull',
  refreshToken: 'refresh-1',
  createNewRefreshToken: true,
  accessToken: 'interim-1',
  tradeToken: 'trade-1',
  mfaCode: '314159',
  metadata: { region: 'eu' },
};
const plain: BrokerRefreshTokenRequest = {
  type: 'weBull',
  refreshToken: 'refresh-2',
  accessToken: 'access-2',
  tradeToken: 'trade-1',
  metadata: { region: 'eu' },
};
const removal: Required<BrokerBaseRequest> = { authToken: 'access-2', type: 'weBull' };
const link: GetLinkTokenRequest = {
  userId: 'ada',
  restrictMultipleAccounts: true,
  transferOptions: { amountInFiat: 10 },
};

const [url = '', id = '', secret = ''] = process.argv.slice(2);
const mesh = client(url, id, secret).managedAccountAuthentication;
await mesh.v1TokenRefreshCreate(full);
await mesh.v1TokenRefreshCreate(plain);
await mesh.v1AccountDelete(removal);
await mesh.v1LinktokenCreate(link);
