// The page: who is signed in, and calls of the API with their token, which it never gets.

const $ = (selector) => document.querySelector(selector);
const ours = { "x-csrf": "1" }; // no other site's page can send this header

async function show() {
  const user = await (await fetch("/user")).json();
  $("#welcome").hidden = user.signed_in;
  $("#home").hidden = !user.signed_in;
  if (!user.signed_in) return;
  $("#greeting").textContent = user.subject;
  $("#connections").replaceChildren(...user.connections.map(connection));
}

function connection({ provider, state, connect }) {
  const item = document.createElement("li");
  item.dataset.state = state;
  item.append(`${provider}: ${state.replace("_", " ")} `);
  if (connect) {
    const link = document.createElement("a");
    link.className = "reconnect";
    link.href = connect;
    link.textContent = state === "active" ? "Connect again" : "Reconnect";
    item.append(link);
  }
  return item;
}

async function call() {
  const response = await fetch(document.body.dataset.call, { headers: ours });
  const text = await response.text();
  count(response.ok ? "#calls" : "#failures");
  $("#answer").textContent = text;
  // Signed out elsewhere, or to be connected again: the page says which.
  if (!response.ok) await show();
}

function count(selector) {
  const output = $(selector);
  output.textContent = Number(output.textContent) + 1;
}

async function keepCalling() {
  if ($("#keep-calling").checked) await run(call);
  setTimeout(keepCalling, 500);
}

async function signOut() {
  const response = await fetch("/auth/op/logout", { method: "POST", headers: ours });
  if (!response.ok) throw new Error(`the answer was ${response.status}`);
  // From there on to the provider's own logout.
  location.assign((await response.json()).location);
}

async function run(work) {
  const problem = $("#problem");
  try {
    await work();
    problem.hidden = true;
  } catch (error) {
    if (work === call) count("#failures");
    problem.textContent = `That did not work: ${error.message}.`;
    problem.hidden = false;
  }
}

$("#call").addEventListener("click", () => run(call));
$("#sign-out").addEventListener("click", () => run(signOut));
run(show);
keepCalling();
