// The page of a return user: it asks the server every second what has happened.

import * as api from "./api.js";
import { closeLink, openLink } from "./link.js";
import { $, addEvents, clockTime, problem, say, showBalances, showConnections, showCountdown } from "./view.js";

let user = null; // who is signed in, as the server says
let connections = [];
let seen = 0; // the last event that is shown
let started = 0; // which run of the server this page has seen
let skew = 0; // the server's clock minus ours
let askedAt = 0;
let asking = false;
const phases = new Map();

const now = () => Date.now() + skew;

// Runs what a click began; what goes wrong is shown, not lost.
async function run(button, work) {
  if (button) button.disabled = true;
  try {
    problem(null);
    await work();
  } catch (error) {
    if (error instanceof api.Problem && error.status === 401) await showUser();
    else problem(`That did not work: ${error.message}.`);
  } finally {
    if (button) {
      button.disabled = false;
      // A button that is disabled loses the focus.
      if (document.activeElement === document.body) button.focus();
    }
  }
}

function onClick(selector, work) {
  const button = $(selector);
  button.addEventListener("click", () => run(button, work));
}

async function showUser() {
  user = await api.session();
  skew = user.now - Date.now();
  $("#welcome").hidden = user.name !== null;
  $("#home").hidden = $("#who").hidden = user.name === null;
  if (user.name === null) return;
  $("#name").textContent = user.name;
  $("#ask-every").textContent = `${user.askEvery / 1_000} s`;
  const back = user.signedInAt < user.startedAt;
  $("#greeting").textContent = back ? `Welcome back, ${user.name}` : `Hello, ${user.name}`;
  $("#greeting-why").textContent = back
    ? `The server was started anew at ${clockTime(user.startedAt)}. You are still signed in since ${clockTime(user.signedInAt)}: no login.`
    : `You signed in at ${clockTime(user.signedInAt)}.`;
  await showAll();
}

async function showAll() {
  await showConnected();
  await ask();
}

async function showConnected() {
  connections = await api.connections();
  showConnections(connections, disconnect);
  countDown();
}

async function ask() {
  askedAt = Date.now();
  if (asking || connections.length === 0) return;
  asking = true;
  try {
    showBalances(await api.balances());
  } finally {
    asking = false;
  }
}

function disconnect(connection) {
  return run(null, async () => {
    await api.disconnect(connection.id);
    say(`${connection.brokerName} is disconnected.`);
    await showAll();
    $("#greeting").focus();
  });
}

function countDown() {
  for (const connection of connections) {
    const phase = showCountdown(connection, now(), user.margin);
    if (phase === phases.get(connection.id)) continue;
    if (phase === "due") say(`The access token of ${connection.brokerName} is about to expire.`);
    if (phase === "expired") say(`The access token of ${connection.brokerName} has expired.`);
    phases.set(connection.id, phase);
  }
}

async function look() {
  const { startedAt, events } = await api.activity(seen);
  if (started !== startedAt) {
    // Another run of the server counts its events anew.
    const again = started !== 0;
    started = startedAt;
    seen = 0;
    if (again) {
      addEvents([]);
      await showUser();
    }
    return;
  }
  if (events.length > 0) {
    seen = events.at(-1).number;
    addEvents(events);
    await showConnected();
    const refreshed = events.findLast((event) => event.what === "refreshed");
    if (refreshed) say(`The access token of ${refreshed.broker} was refreshed.`);
  }
  if ($("#keep-asking").checked && Date.now() - askedAt >= user.askEvery) await ask();
}

async function every() {
  try {
    if (!document.hidden) {
      if (user === null) await showUser();
      if (user.name !== null) {
        countDown();
        await look();
      }
      offline(false);
    }
  } catch (error) {
    if (error instanceof api.Offline) offline(true);
    else if (error.status === 401) await showUser().catch(() => {});
  }
  setTimeout(every, 1_000);
}

function offline(gone) {
  const notice = $("#offline");
  if (notice.hidden === !gone) return;
  notice.hidden = !gone;
  notice.textContent = gone
    ? "The server does not answer. Run the same command again: this page goes on by itself."
    : "";
  if (gone) closeLink();
  else say("The server is back.");
}

$("#sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  run($("#sign-in button"), async () => {
    await api.signIn($("#user").value);
    await showUser();
    $("#greeting").focus();
  });
});

onClick("#connect", async () => {
  const linkToken = await api.linkToken();
  let stored = Promise.resolve();
  await openLink(linkToken, {
    onConnected: (payload) => {
      stored = api.connect({ ...payload, receivedAt: Math.round(now()) });
      stored.catch(() => {}); // said below
    },
  });
  await stored;
  await showAll();
});

// The return user: one click, no login.
onClick("#transfer", async () => {
  const [linkToken, accessTokens] = await Promise.all([api.linkToken(), api.accessTokens()]);
  await openLink(linkToken, {
    accessTokens,
    onConnected: () => {},
    onTransferred: () => say("The transfer is done."),
  });
});

onClick("#ask", ask);

onClick("#sign-out", async () => {
  await api.signOut();
  location.reload();
});

onClick("#leave", async () => {
  if (!confirm("Disconnect all brokers, and sign out in every browser?")) return;
  await api.leave();
  location.reload();
});

every();
