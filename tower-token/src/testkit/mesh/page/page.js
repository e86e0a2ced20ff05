// Speaks with @meshconnect/web-link-sdk in the parent window, and with no one else.
'use strict';

const { key, parents, brokers } = JSON.parse(document.getElementById('setup').textContent);

/** The parent's origin, once it has spoken. */
let parentOrigin = null;
let accessTokens = null;
let broker = null;
let view = 'wait';

const $ = (selector) => document.querySelector(selector);

/** Until the parent is known, every origin that it may be is tried: a browser hands a
 *  message only to the origin that it was addressed to. */
function tell(message) {
  for (const origin of parentOrigin ? [parentOrigin] : parents) {
    window.parent.postMessage(message, origin);
  }
}

function show(name) {
  view = name;
  for (const section of document.querySelectorAll('section')) section.hidden = section.id !== name;
  problem('');
  const heading = $(`#${name} h1`);
  document.title = heading.textContent;
  heading.focus();
}

function problem(text) {
  $('#problem').textContent = text;
}

/** Asks the server behind this page. */
async function ask(path, body) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-page-key': key },
    body: JSON.stringify(body),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.message);
  return result.content;
}

function list(selector, items, make) {
  $(selector).replaceChildren(...items.map(make));
}

function item(name, note) {
  const li = document.createElement('li');
  const small = document.createElement('small');
  small.textContent = note;
  li.append(name, document.createElement('br'), small);
  return li;
}

function choose() {
  list('#choose .choices', brokers, (choice) => {
    const li = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = choice.name;
    button.addEventListener('click', () => {
      broker = choice;
      $('#login .broker').textContent = choice.name;
      tell({ type: 'integrationSelected', payload: { integrationType: choice.type, integrationName: choice.name } });
      show('login');
      $('#user-name').focus();
    });
    li.append(button);
    return li;
  });
  show('choose');
}

/** The user comes back: tokens that are good take the place of the login. */
async function resume() {
  try {
    const { accounts } = await ask('/link/verify', { accessTokens });
    list('#transfer .sources', accounts, (account, at) => {
      const label = document.createElement('label');
      const radio = document.createElement('input');
      radio.type = 'radio';
      radio.name = 'source';
      radio.value = account.accountId;
      radio.checked = at === 0;
      label.append(radio, `${account.accountName} (${account.brokerName})`);
      return label;
    });
    show('transfer');
  } catch (error) {
    tell({ type: 'integrationConnectionError', payload: { errorMessage: error.message } });
    choose();
    problem('Your connected accounts could not be used. Please connect again.');
  }
}

/** Keeps a form from being sent twice. */
async function once(form, act) {
  const button = form.querySelector('[type=submit]');
  if (button.disabled) return;
  button.disabled = true;
  try {
    await act();
  } catch (error) {
    problem(error.message);
  } finally {
    button.disabled = false;
  }
}

$('#login form').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.target;
  once(form, async () => {
    const message = await ask('/link/connect', {
      brokerType: broker.type,
      userName: form.userName.value,
      later: form.later.checked,
    });
    tell(message);
    const accounts = message.payload.accountTokens ?? [];
    list('#connected .accounts', accounts, ({ account }) => item(account.accountName, broker.name));
    if (!accounts.length) list('#connected .accounts', [broker.name], (name) => item(name, 'to be confirmed later'));
    form.reset();
    show('connected');
  });
});

$('#login .back').addEventListener('click', choose);

$('#transfer form').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.target;
  once(form, async () => {
    const source = form.querySelector('[name=source]:checked');
    tell({
      type: 'transferFinished',
      payload: {
        status: 'success',
        txId: crypto.randomUUID(),
        fromAddress: source.value,
        toAddress: '0x0000000000000000000000000000000000000000',
        symbol: 'ETH',
        amount: 0.01,
        networkId: 'e3c7fdd8-b1fc-4e51-85ae-bb276e075611',
      },
    });
    $('#transferred .from').textContent = source.parentElement.textContent;
    show('transferred');
  });
});

function summary() {
  const pages = { connected: 'integrationConnectedPage', transferred: 'transferExecutedPage' };
  const selectedIntegration = broker && { name: broker.name, integrationType: broker.type };
  return { page: pages[view] ?? `${view}Page`, ...(selectedIntegration && { selectedIntegration }) };
}

for (const button of document.querySelectorAll('.done')) {
  button.addEventListener('click', () => tell({ type: 'done', payload: summary() }));
}
$('#close').addEventListener('click', () => tell({ type: 'close', payload: summary() }));

const theme = new URLSearchParams(location.search).get('th');
if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;

window.addEventListener('message', (event) => {
  if (event.source !== window.parent || !parents.includes(event.origin)) return;
  parentOrigin = event.origin;
  switch (event.data?.type) {
    case 'meshSDKSpecs':
      // Access tokens follow at once, if there are any.
      setTimeout(() => accessTokens ?? choose(), 50);
      break;
    case 'frontAccessTokens':
      accessTokens = event.data.payload;
      resume();
      break;
    case 'closeRequested':
      tell({ type: 'close', payload: summary() });
      break;
  }
});

if (window.parent === window || !parents.length) {
  problem('This page is for a frame. Name the origin of the page around it: MeshServerBuilder::parent_origin.');
} else {
  tell({ type: 'loaded' });
}
