// Mesh's own client drives the stand-in: `node dist/check.js PROGRAM`, with the program
// `mesh-stand-in`. What a type documents is named field by field: `fields` does not compile
// with one left out, and does not pass with one too many.

import assert from 'node:assert/strict';

import type {
  ApiResult,
  B2BBrokerRefreshTokenResponse,
  BrokerAccount,
  BrokerAccountTokens,
  BrokerFiatBalance,
  BrokerRefreshTokenRequest,
  GetLinkTokenRequest,
  HoldingsModel,
  LinkTokenModel,
  PortfolioHoldingsRequest,
  PositionWithMarketValue,
} from '@meshconnect/node-api';
import type {
  AccessTokenPayload,
  Account,
  AccountToken,
  BrandInfo,
  DelayedAuthPayload,
  LinkPayload,
} from '@meshconnect/web-link-sdk';
import type { AxiosResponse } from 'axios';

import { client, type Client } from './client.js';
import { StandIn } from './stand-in.js';

const REFRESH_TTL = 86_400;
const ACCESS_TTL = 600;
const TOKEN = /^[\w-]{43}$/;
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;

let checked = 0;

/** Every documented field, and its value. */
type Fields<T> = { [Name in keyof Required<T>]: unknown };

/** Compares what was answered with every documented field of `T`. */
function fields<T>(answered: T | null | undefined, expected: Fields<T>): void {
  assert.deepEqual(answered, expected);
  checked += Object.keys(expected).length;
}

function equal(actual: unknown, expected: unknown): void {
  assert.deepEqual(actual, expected);
  checked += 1;
}

function match(actual: string | null | undefined, pattern: RegExp): string {
  assert.match(actual ?? '', pattern);
  checked += 1;
  return actual ?? '';
}

/** The wrapper of a good answer. The content, if any, is checked by itself. */
function well<T extends ApiResult>(answer: AxiosResponse<T>): T {
  equal(answer.status, 200);
  const { content: _, ...wrapper } = answer.data as T & { content?: unknown };
  fields<ApiResult>(wrapper as ApiResult, {
    status: 'ok',
    message: '',
    displayMessage: null,
    errorHash: null,
    errorType: '',
    errorData: null,
  });
  return answer.data;
}

/** The wrapper of a refusal. */
async function refused(
  answer: Promise<AxiosResponse<ApiResult>>,
  status: number,
  says: Pick<Required<ApiResult>, 'status' | 'message' | 'errorType'>,
): Promise<void> {
  const failure = await answer.then(
    () => assert.fail('not refused'),
    (error: { response?: AxiosResponse<ApiResult> }) => error.response,
  );
  equal(failure?.status, status);
  fields<ApiResult>(failure?.data, {
    ...says,
    displayMessage: 'Something went wrong.',
    errorHash: '5f2e1c3a',
    errorData: null,
  });
}

const dead = (answer: Promise<AxiosResponse<ApiResult>>) =>
  refused(answer, 400, {
    status: 'badRequest',
    message: 'Unauthorized token',
    errorType: 'integrationToken',
  });

const rejected = (answer: Promise<AxiosResponse<ApiResult>>, message: string) =>
  refused(answer, 400, { status: 'badRequest', message, errorType: 'validation' });

const wrongClient = (answer: Promise<AxiosResponse<ApiResult>>) =>
  refused(answer, 401, {
    status: 'permissionDenied',
    message: 'Client Id or Client Secret are not correct or missing.',
    errorType: 'unauthenticated',
  });

const refresh = (mesh: Client, data: BrokerRefreshTokenRequest) =>
  mesh.managedAccountAuthentication.v1TokenRefreshCreate(data);
const holdings = (mesh: Client, data: PortfolioHoldingsRequest) =>
  mesh.portfolio.v1HoldingsGetCreate(data);
const linkToken = (mesh: Client, data: GetLinkTokenRequest) =>
  mesh.managedAccountAuthentication.v1LinktokenCreate(data);
const remove = (mesh: Client, authToken: string) =>
  mesh.managedAccountAuthentication.v1AccountDelete({ authToken, type: 'sandbox' });

/** What a page gets for a user's login, as the SDK types it. */
async function connected(server: StandIn): Promise<AccountToken[]> {
  const { accessToken: payload }: LinkPayload = JSON.parse(await server.tell('connect ada sandbox'));
  const names = ['Northwind Spot', 'Northwind Savings'];
  const money = [
    { fund: 1250.5, cash: 1000.25 },
    { fund: 320, cash: 320 },
  ];
  fields<AccessTokenPayload>(payload, {
    accountTokens: payload?.accountTokens,
    brokerBrandInfo: payload?.brokerBrandInfo,
    expiresInSeconds: ACCESS_TTL,
    refreshTokenExpiresInSeconds: REFRESH_TTL,
    brokerType: 'sandbox',
    brokerName: 'Northwind Exchange',
  });
  const brand: Pick<BrandInfo, 'brokerLogo'> | undefined = payload?.brokerBrandInfo;
  match(Buffer.from(brand?.brokerLogo ?? '', 'base64').toString(), /^<svg/);
  const tokens = payload?.accountTokens ?? [];
  equal(tokens.length, 2);
  tokens.forEach((token, at) => {
    fields<AccountToken>(token, {
      account: token.account,
      accessToken: match(token.accessToken, TOKEN),
      refreshToken: match(tokens[0]?.refreshToken, TOKEN),
      tokenId: match(token.tokenId, UUID),
    });
    fields<Account>(token.account, {
      accountId: match(token.account.accountId, TOKEN),
      accountName: names[at],
      isReconnected: token.account.isReconnected,
      ...(money[at] ?? assert.fail()),
    });
  });
  return tokens;
}

/** The tokens of a good answer to a refresh, which are those of the accounts `before`. */
async function refreshed(
  mesh: Client,
  before: AccountToken[],
  more: Partial<BrokerRefreshTokenRequest> = {},
): Promise<AccountToken[]> {
  const spent = before[0]?.refreshToken ?? assert.fail();
  const { content } = well(await refresh(mesh, { type: 'sandbox', refreshToken: spent, ...more }));
  const tokens = content?.brokerAccountTokens ?? [];
  const [first] = tokens;
  const left = content?.refreshTokenExpiresInSeconds ?? 0;
  // A whole life if a new one was asked for; else what is left of it, by a clock of whole seconds.
  assert.ok(more.createNewRefreshToken ? left === REFRESH_TTL : left > REFRESH_TTL - 30 && left <= REFRESH_TTL);
  fields<B2BBrokerRefreshTokenResponse>(content, {
    status: 'succeeded',
    errorMessage: null,
    account: first?.account,
    accessToken: first?.accessToken,
    refreshToken: first?.refreshToken,
    expiresInSeconds: ACCESS_TTL,
    refreshTokenExpiresInSeconds: left,
    brokerAccountTokens: tokens,
  });
  equal(tokens.length, before.length);
  // The order is not the one of the accounts.
  return before.map((known) => {
    const token = tokens.find(({ tokenId }) => tokenId === known.tokenId);
    fields<BrokerAccountTokens>(token, {
      account: token?.account,
      accessToken: match(token?.accessToken, TOKEN),
      refreshToken: match(first?.refreshToken, TOKEN),
      tokenId: known.tokenId,
    });
    assert.notEqual(token?.accessToken, known.accessToken);
    assert.notEqual(token?.refreshToken, spent);
    const { fund, cash, accountId, accountName } = known.account;
    const meshAccountId = match(token?.account?.meshAccountId, UUID);
    fields<BrokerAccount>(token?.account, {
      meshAccountId,
      frontAccountId: meshAccountId,
      accountId,
      accountName,
      fund,
      cash,
      isReconnected: known.account.isReconnected,
      balances: token?.account?.balances,
    });
    equal(token?.account?.balances?.length, 1);
    fields<BrokerFiatBalance>(token?.account?.balances?.[0], {
      symbol: 'USD',
      buyingPower: fund,
      cryptoBuyingPower: fund,
      cash,
    });
    return {
      ...known,
      accessToken: token?.accessToken ?? '',
      refreshToken: token?.refreshToken ?? '',
    };
  });
}

/** An access token opens its own account. */
async function opens(mesh: Client, token: AccountToken, includeMarketValue?: boolean): Promise<void> {
  const request: PortfolioHoldingsRequest = { authToken: token.accessToken, type: 'sandbox' };
  if (includeMarketValue !== undefined) request.includeMarketValue = includeMarketValue;
  const { content } = well(await holdings(mesh, request));
  fields<HoldingsModel>(content, {
    status: 'succeeded',
    errorMessage: null,
    displayMessage: null,
    notSupportedEquityPositions: [],
    notSupportedCryptocurrencyPositions: [],
    nftPositions: [],
    optionPositions: [],
    type: 'sandbox',
    accountId: token.account.accountId,
    institutionName: 'Northwind Exchange',
    accountName: token.account.accountName,
    equityPositions: [],
    cryptocurrencyPositions: content?.cryptocurrencyPositions,
  });
  equal(content?.cryptocurrencyPositions?.length, 1);
  fields<PositionWithMarketValue>(content?.cryptocurrencyPositions?.[0], {
    name: 'Ether',
    symbol: 'ETH',
    amount: 0.25,
    costBasis: null,
    distribution: null,
    marketValue: includeMarketValue ? 625 : null,
    lastPrice: includeMarketValue ? 2500 : null,
  });
}

async function links(server: StandIn, mesh: Client): Promise<void> {
  const full: Required<GetLinkTokenRequest> = {
    userId: 'ada',
    brokerType: null,
    restrictMultipleAccounts: true,
    transferOptions: {
      toAddresses: [{ networkId: 'e3c7fdd8-b1fc-4e51-85ae-bb276e075611', symbol: 'ETH', address: '0x0', amount: 0.1 }],
      amountInFiat: 1.5,
      transactionId: 'order-1',
      clientFee: 0.025,
      transferType: 'payment',
      fundingOptions: { enabled: true },
      isInclusiveFeeEnabled: false,
      description: 'a mug',
      goodsDetails: [{ goodsName: 'mug' }],
      generatePayLink: false,
    },
    integrationId: 'e3c7fdd8-b1fc-4e51-85ae-bb276e075611',
    disableApiKeyGeneration: true,
    verifyWalletOptions: { message: 'hello', verificationMethods: ['signedMessage'], addresses: [], networkType: 'evm' },
    subClientId: null,
  };
  for (const asked of [{ userId: 'ada' }, full]) {
    const { content } = well(await linkToken(mesh, asked));
    const url = Buffer.from(content?.linkToken ?? '', 'base64').toString();
    fields<LinkTokenModel>(content, { linkToken: content?.linkToken, paymentLink: null });
    assert.ok(url.startsWith(`${server.url}/link/`), 'the link token is the URL of the page');
    const page = await fetch(url);
    equal(page.status, 200);
    match(await page.text(), /Connect an account/);
    equal((await fetch(url)).status, 410);
  }
  await rejected(linkToken(mesh, {} as GetLinkTokenRequest), 'userId is missing');
  await rejected(linkToken(mesh, { userId: '' }), 'userId has to be 1 to 300 characters long');
  const odd = { userId: 'ada', userid: 'ada' };
  await rejected(linkToken(mesh, odd), 'userid is not a known field');
}

async function tokens(server: StandIn, mesh: Client): Promise<void> {
  const first = await connected(server);
  for (const token of first) await opens(mesh, token);
  const second = await refreshed(mesh, first, {
    accessToken: first[0]?.accessToken ?? null,
    tradeToken: null,
    metadata: { device: 'x', nothing: null },
  });
  for (const token of second) await opens(mesh, token, true);
  const third = await refreshed(mesh, second, { createNewRefreshToken: true });

  const unknown = { type: 'sandbox' as const, refreshToken: third[0]?.refreshToken ?? '', refresh_token: 'x' };
  await rejected(refresh(mesh, unknown), 'refresh_token is not a known field');
  const without = { type: 'sandbox' } as BrokerRefreshTokenRequest;
  await rejected(refresh(mesh, without), 'refreshToken is missing');
  await dead(refresh(mesh, { type: 'sandbox', refreshToken: 'unknown' }));
  for (const [id, secret] of [[server.id, 'x'], ['x', server.secret], ['', '']] as const) {
    const stranger = client(server.url, id, secret);
    await wrongClient(refresh(stranger, { type: 'sandbox', refreshToken: third[0]?.refreshToken ?? '' }));
    await wrongClient(holdings(stranger, { type: 'sandbox', authToken: third[0]?.accessToken ?? '' }));
    await wrongClient(remove(stranger, third[0]?.accessToken ?? ''));
    await wrongClient(linkToken(stranger, { userId: 'ada' }));
  }
  // None of that spent the token.
  const fourth = await refreshed(mesh, third);
  await dead(holdings(mesh, { type: 'sandbox', authToken: 'unknown' }));

  await server.tell('expire');
  for (const token of fourth) await dead(holdings(mesh, { type: 'sandbox', authToken: token.accessToken }));
  const fifth = await refreshed(mesh, fourth);

  // Removed one by one.
  for (const token of fifth) {
    equal('content' in well(await remove(mesh, token.accessToken)), false);
    await dead(holdings(mesh, { type: 'sandbox', authToken: token.accessToken }));
    await dead(remove(mesh, token.accessToken));
  }
  await dead(refresh(mesh, { type: 'sandbox', refreshToken: fifth[0]?.refreshToken ?? '' }));
  const odd = { authToken: 'x', type: 'sandbox' as const, accountId: 'x' };
  await rejected(mesh.managedAccountAuthentication.v1AccountDelete(odd), 'accountId is not a known field');
}

async function reuse(server: StandIn, mesh: Client): Promise<void> {
  const first = await connected(server);
  const second = await refreshed(mesh, first);
  await dead(refresh(mesh, { type: 'sandbox', refreshToken: first[0]?.refreshToken ?? '' }));
  await dead(refresh(mesh, { type: 'sandbox', refreshToken: second[0]?.refreshToken ?? '' }));
  for (const token of second) await dead(holdings(mesh, { type: 'sandbox', authToken: token.accessToken }));
}

async function codes(server: StandIn, mesh: Client): Promise<void> {
  const first = await connected(server);
  await server.tell('code 314159');
  const asked: BrokerRefreshTokenRequest = { type: 'sandbox', refreshToken: first[0]?.refreshToken ?? '' };
  const { content } = well(await refresh(mesh, asked));
  const accessToken = match(content?.accessToken, TOKEN);
  fields<B2BBrokerRefreshTokenResponse>(content, {
    status: 'mfaRequired',
    errorMessage: null,
    account: null,
    accessToken,
    refreshToken: null,
    expiresInSeconds: ACCESS_TTL,
    refreshTokenExpiresInSeconds: null,
    brokerAccountTokens: [{ account: null, accessToken, refreshToken: null, tokenId: null }],
  });
  const wrong = well(await refresh(mesh, { ...asked, accessToken, mfaCode: '1' })).content;
  fields<B2BBrokerRefreshTokenResponse>(wrong, {
    status: 'failed',
    errorMessage: 'The code is wrong, or not for this access token',
    account: null,
    accessToken: null,
    refreshToken: null,
    expiresInSeconds: null,
    refreshTokenExpiresInSeconds: null,
    brokerAccountTokens: null,
  });
  await refreshed(mesh, first, { accessToken, mfaCode: '314159' });
  await server.tell('code');
}

async function later(server: StandIn, mesh: Client): Promise<void> {
  const { delayedAuth }: LinkPayload = JSON.parse(await server.tell('later bob sandbox'));
  const refreshToken = match(delayedAuth?.refreshToken, TOKEN);
  fields<DelayedAuthPayload>(delayedAuth, {
    refreshTokenExpiresInSeconds: REFRESH_TTL,
    brokerType: 'sandbox',
    refreshToken,
    brokerName: 'Northwind Exchange',
    brokerBrandInfo: delayedAuth?.brokerBrandInfo,
  });
  const { content } = well(await refresh(mesh, { type: 'sandbox', refreshToken }));
  equal(content?.brokerAccountTokens?.length, 2);
}

const [program] = process.argv.slice(2);
const server = await StandIn.start(
  program ?? assert.fail('usage: check PROGRAM'),
  '--access-ttl',
  String(ACCESS_TTL),
  '--refresh-ttl',
  String(REFRESH_TTL),
);
const mesh = client(server.url, server.id, server.secret);
for (const part of [links, tokens, reuse, codes, later]) {
  await part(server, mesh);
  console.log(`ok ${part.name}`);
}
await server.stop();
console.log(`${checked} values as @meshconnect/node-api types and documents them`);
