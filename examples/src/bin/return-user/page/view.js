// What is shown. Text only ever goes in as text.

export const $ = (selector, within = document) => within.querySelector(selector);

export function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

export const clockTime = (millis) => new Date(millis).toLocaleTimeString();

// Said to those who do not see the page.
export function say(text) {
  $("#say").textContent = text;
}

export function problem(text) {
  $("#problem").textContent = text ?? "";
  $("#problem").hidden = !text;
}

const cards = $("#connections");
const cardOf = (id) => [...cards.children].find((card) => card.dataset.id === id);

export function showConnections(connections, onDisconnect) {
  for (const card of [...cards.children]) {
    if (!connections.some((connection) => connection.id === card.dataset.id)) card.remove();
  }
  for (const connection of connections) {
    let card = cardOf(connection.id);
    if (!card) {
      card = $("#connection").content.cloneNode(true).firstElementChild;
      card.dataset.id = connection.id;
      $("h3", card).textContent = connection.brokerName;
      $(".disconnect", card).setAttribute("aria-label", `Disconnect ${connection.brokerName}`);
      $(".disconnect", card).addEventListener("click", () => onDisconnect(connection));
      cards.append(card);
    }
    const active = connection.state === "active";
    $(".state", card).textContent = active ? "connected" : "needs you again";
    $(".state", card).classList.toggle("lost", !active);
    card.dataset.refreshedAt = connection.refreshedAt;
  }
  const none = connections.length === 0;
  $("#nothing").hidden = !none;
  $("#asking").hidden = none;
  $("#transfer").hidden = none;
  $("#transfer").className = "main";
  $("#connect").className = none ? "main" : "";
  $("#connect").textContent = none ? "Connect a broker" : "Connect another";
}

// How long the access token of a connection still lives at `now`, the server's time.
export function showCountdown(connection, now, margin) {
  const card = cardOf(connection.id);
  if (!card) return null;
  const label = $(".left", card);
  $(".countdown", card).hidden = connection.expiresAt === null;
  if (connection.expiresAt === null) return null;
  const life = connection.expiresAt - connection.refreshedAt;
  const due = Math.min(margin, life);
  const left = Math.max(0, connection.expiresAt - now);
  const phase = left === 0 ? "expired" : left <= due ? "due" : "fresh";
  label.textContent = phase === "expired" ? "expired" : `${Math.ceil(left / 1000)} s`;
  card.classList.toggle("due", phase !== "fresh");
  $(".fill", card).style.width = `${(100 * left) / life}%`;
  $(".zone", card).style.width = `${(100 * due) / life}%`;
  $(".when", card).textContent = {
    fresh: `Issued ${clockTime(connection.refreshedAt)}. From ${clockTime(connection.expiresAt - due)} on, a call refreshes it behind.`,
    due: "About to expire: the next call gets it at once, and it is refreshed behind.",
    expired: "The next call waits for the refresh.",
  }[phase];
  return phase;
}

export function showBalances(balances) {
  for (const connection of balances.connections) {
    const card = cardOf(connection.id);
    if (!card) continue;
    const tables = connection.accounts.map((account) => {
      const table = element("table");
      table.append(element("caption", account.name));
      const body = table.createTBody();
      for (const holding of account.holdings) {
        const row = body.insertRow();
        const head = element("th", holding.symbol);
        head.scope = "row";
        row.append(head);
        row.insertCell().textContent = Number(holding.amount).toLocaleString(undefined, { maximumFractionDigits: 6 });
      }
      return table;
    });
    const note = connection.problem
      ? element("p", `No balances: ${connection.problem}`, "notice warn")
      : element("p", `Asked at ${clockTime(balances.at)}, answered in ${connection.tookMs} ms.`, "muted asked");
    $(".accounts", card).replaceChildren(...tables, note);
  }
}

export function addEvents(events) {
  for (const event of events) {
    const item = element("li", undefined, event.tone);
    item.dataset.what = event.what;
    const time = element("time", clockTime(event.at));
    time.dateTime = new Date(event.at).toISOString();
    const next = event.nextAt ? ` Next at about ${clockTime(event.nextAt)}.` : "";
    item.append(time, element("strong", event.broker, "about"), element("span", event.text + next, "what"));
    $("#timeline").prepend(item);
  }
  while ($("#timeline").children.length > 100) $("#timeline").lastElementChild.remove();
  $("#quiet").hidden = $("#timeline").children.length > 0;
}
